import { Command } from 'commander'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'

export function latestCommand(): Command {
  const command = new Command('latest')
    .description('print the id of the newest complete backup that is not known to be damaged; exit 1 if there is none')
    .argument('[cluster]', 'of this cluster')
    .option('--path', 'print its file instead')
    .option('--cluster <name>', 'same as the argument')
    .addHelpText('after', '\nExample:\n  pg_restore --list "$(tidemark latest --path)"')
  return addRepositoryFlags(command).action(async (cluster: string | undefined, flags: GlobalFlags & { path?: boolean }) => {
    await runAction(flags, async (runtime) => {
      const { showBackup } = await import('../../api/show-backup.ts')
      const { oneCluster } = await import('../../api/subjects.ts')
      const name = oneCluster(cluster, flags.cluster)
      const { backup, warnings } = await showBackup(await runtime.workspace({ everyCluster: false }), {
        backup: 'latest',
        manifest: false,
        ...(name === undefined ? {} : { cluster: name }),
      })
      runtime.output.document({ ...backup, warnings })
      runtime.output.line(flags.path === true ? (backup.path ?? backup.key) : backup.id)
      if (warnings.length > 0) runtime.exitCode = 3
    })
  })
}
