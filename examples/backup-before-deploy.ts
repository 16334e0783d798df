/**
 * A backup before a deployment, proven before the deployment goes on.
 *
 *   DATABASE_URL=postgres://app@localhost/shop npx node examples/backup-before-deploy.ts
 *
 * Backups go to ./backups, or where BACKUP_DIR says. Exits with the code that the command line would exit with.
 */
import { Failure, openTidemark } from 'tidemark'

async function main(): Promise<void> {
  await using tide = await openTidemark({ signal: AbortSignal.timeout(10 * 60_000) })

  const backup = await tide.createBackup({ name: 'before-deploy', nameUnique: true })
  console.log(`${backup.id} is ${backup.state}: ${backup.size} bytes in ${backup.path ?? backup.key}`)
  for (const warning of backup.warnings) console.log(`  ${warning}`)

  // Restores it into a scratch database, compares every row with what was dumped, and drops it again.
  const { proof } = await tide.drill(backup.id)
  console.log(`${proof.outcome}: ${proof.tables.length} tables came back in ${proof.restoreSeconds.toFixed(1)} s`)
  if (proof.outcome !== 'proven')
    throw new Error(`not safe to deploy: ${[...proof.problems, ...proof.notCompared.map(({ what }) => `${what} was not compared`)].join('; ')}`)

  const all = await tide.listBackups()
  console.log(`${all.length} backups; the newest is ${all[0]?.filename ?? 'none'}`)
}

try {
  await main()
} catch (error) {
  if (!(error instanceof Failure)) throw error
  console.error(`${error.code}: ${error.message}`)
  for (const hint of error.hints) console.error(`  ${hint}`)
  process.exitCode = error.exitCode
}
