import { Command, Option } from 'commander'
import type { BackupOptions, BackupResult } from '../../api/take-backups.ts'
import { collect, parseCount } from '../option-values.ts'
import { renderLeftOut } from '../render/backups.ts'
import { formatBytes, formatDuration, printable } from '../render/format.ts'
import { nextCommand } from '../render/next-command.ts'
import type { Output } from '../render/output.ts'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'

interface BackupFlags extends GlobalFlags {
  type: 'dump' | 'full' | 'incr' | 'auto'
  database?: string[]
  allDatabases?: boolean
  name?: string
  nameUnique?: boolean
  reader?: 'auto' | 'stream' | 'direct'
  format?: 'custom' | 'plain' | 'directory'
  compress?: string
  schemaOnly?: boolean
  dataOnly?: boolean
  table?: string[]
  schema?: string[]
  excludeTable?: string[]
  jobs?: number
  fingerprint: boolean
  verify: boolean
  globals: boolean
  dryRun?: boolean
}

export function backupCommand(): Command {
  const command = new Command('backup')
    .description('take a backup, read it back, and record what it holds')
    .argument('[cluster]', 'the cluster (may be left out when one is configured)')
    .option('--cluster <name>', 'same as the argument')
    .addOption(new Option('--type <type>', 'kind of backup').choices(['dump', 'full', 'incr', 'auto']).default('auto'))
    .option('--database <name>', 'dump this database; may be repeated (default: those of the configuration)', collect)
    .option('--all-databases', 'every database that can be connected to')
    .option('--name <name>', 'name of the backup and stem of its file')
    .option('--name-unique', 'add a suffix when the name is taken, instead of refusing')
    .addOption(
      new Option('--reader <reader>', 'who reads the files of a base backup: the server (stream), or we where they lie on this machine').choices([
        'auto',
        'stream',
        'direct',
      ]),
    )
    .addOption(new Option('--format <format>', 'what pg_dump writes').choices(['custom', 'plain', 'directory']))
    .option('--compress <method>', 'gzip:1-9, zstd:1-19 or none')
    .option('--schema-only', 'definitions without rows')
    .option('--data-only', 'rows without definitions')
    .option('--table <pattern>', 'only these tables (a pg_dump pattern); may be repeated', collect)
    .option('--schema <pattern>', 'only these schemas; may be repeated', collect)
    .option('--exclude-table <pattern>', 'leave these tables out; may be repeated', collect)
    .option('--jobs <n>', 'compression workers, or pg_dump workers for the directory format', parseCount)
    .option('--no-fingerprint', 'do not record what the tables hold; a later drill can then only be partial')
    .option('--no-verify', 'do not read back; the backup stays "stored"')
    .option('--no-globals', 'leave roles and tablespaces out')
    .option('--dry-run', 'look at server, client programs, rights, name, repositories and lease as the run would, and write nothing')
    .addHelpText(
      'after',
      `
Examples:
  tidemark backup
  tidemark backup nexo --name before-v5
  tidemark backup --format plain --compress none
  tidemark backup --table orders --table 'audit.*'
  tidemark backup --all-databases --json

A backup ends "verified": every byte was read back and its content equals what pg_dump sent.`,
    )
  return addRepositoryFlags(command).action(async (cluster: string | undefined, flags: BackupFlags) => {
    await runAction(flags, async (runtime) => {
      const { output } = runtime
      const [{ takeBackups }, { oneCluster }] = await Promise.all([import('../../api/take-backups.ts'), import('../../api/subjects.ts')])
      const result = await takeBackups(await runtime.workspace({ everyCluster: false }), optionsOf(oneCluster(cluster, flags.cluster), flags))
      if (result.kind === 'plan') {
        output.document({ plan: result.plan })
        for (const line of result.plan.lines) output.line(printable(line))
        for (const warning of result.plan.warnings) output.line(`${output.paint('yellow', '!')} ${printable(warning, true)}`)
        if (result.plan.warnings.length > 0) runtime.exitCode = 3
        return output.line('Nothing was changed.')
      }
      renderBackups(output, result, flags)
      if (result.partial) runtime.exitCode = 3
    })
  })
}

function optionsOf(cluster: string | undefined, flags: BackupFlags): BackupOptions {
  return {
    type: flags.type,
    databases: flags.database ?? [],
    allDatabases: flags.allDatabases === true,
    name: flags.name ?? null,
    nameUnique: flags.nameUnique === true,
    selection: {
      schemaOnly: flags.schemaOnly === true,
      dataOnly: flags.dataOnly === true,
      tables: flags.table ?? [],
      schemas: flags.schema ?? [],
      excludeTables: flags.excludeTable ?? [],
    },
    fingerprint: flags.fingerprint,
    verify: flags.verify,
    globals: flags.globals,
    dryRun: flags.dryRun === true,
    ...(cluster === undefined ? {} : { cluster }),
    ...(flags.reader === undefined ? {} : { reader: flags.reader }),
    ...(flags.format === undefined ? {} : { format: flags.format }),
    ...(flags.compress === undefined ? {} : { compress: flags.compress }),
    ...(flags.jobs === undefined ? {} : { jobs: flags.jobs }),
  }
}

function renderBackups(output: Output, { backups, warnings }: BackupResult & { readonly kind: 'done' }, flags: BackupFlags): void {
  const [only] = backups
  output.document(backups.length === 1 && only !== undefined ? { ...only, warnings } : { backups, warnings })
  for (const backup of backups) {
    const state = output.paint(backup.state === 'stored' ? 'yellow' : 'green', backup.state.toUpperCase())
    const seconds = Temporal.Instant.from(backup.endedAt).since(Temporal.Instant.from(backup.startedAt)).total('seconds')
    output.line(`backup ${output.paint('bold', backup.id)}  ${state}   ${printable(backup.path ?? backup.key)}`)
    const stored = `stored as ${formatBytes(backup.storedBytes)} in ${formatDuration(seconds)}`
    if (backup.database === null)
      output.line(
        `  ${backup.type}: ${formatBytes(backup.sizeBytes)} of cluster "${printable(backup.cluster)}" ${stored}; WAL ${backup.startLsn ?? ''} → ${backup.stopLsn ?? ''}`,
      )
    else output.line(`  ${formatBytes(backup.sizeBytes)} of "${printable(backup.database)}" ${stored}; ${backup.tables.length} tables`)
    renderLeftOut(output, backup.leftOut ?? [])
    if (backup.state !== 'stored' && !backup.partial && backup.type === 'dump')
      output.line(`  not yet proven: ${printable(nextCommand(['drill', backup.id], flags))}`)
  }
  for (const warning of warnings) output.line(`${output.paint('yellow', '!')} ${printable(warning, true)}`)
}
