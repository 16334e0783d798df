import type { ShownBackup } from '../../api/show-backup.ts'
import type { Backup } from '../../repository/backup.ts'
import { formatBytes, formatCount, formatUtc, printable, table } from './format.ts'
import type { Output } from './output.ts'

const colours = { stored: 'yellow', verified: 'cyan', proven: 'green', damaged: 'red' } as const

/** `list`: newest first, the state in words, never by colour alone. */
export function renderBackups(
  output: Output,
  backups: readonly Backup[],
  { latest, severalClusters }: { readonly latest: ReadonlySet<string>; readonly severalClusters: boolean },
): void {
  if (backups.length === 0) return output.line('No backups yet. Make one: tidemark backup')
  const withCluster = severalClusters || new Set(backups.map((backup) => backup.cluster)).size > 1
  const withDatabase = withCluster || new Set(backups.map((backup) => backup.database)).size > 1
  const header = [
    'ID',
    ...(withCluster ? ['CLUSTER'] : []),
    ...(withDatabase ? ['DATABASE'] : []),
    'TYPE',
    'TAKEN (UTC)',
    'SIZE',
    'STATE',
    'PROVEN',
    'CLASS',
    'KEPT',
    'FILE',
  ]
  const rows = backups.map((backup) => [
    backup.id,
    ...(withCluster ? [printable(backup.cluster)] : []),
    ...(withDatabase ? [printable(backup.database ?? '–')] : []),
    kindOf(backup, latest),
    formatUtc(backup.endedAt),
    formatBytes(backup.storedBytes),
    output.paint(colours[backup.state], backup.state),
    backup.provenAt === null ? '–' : formatUtc(backup.provenAt).slice(0, 16),
    backup.category,
    backup.pinned ? `pinned "${printable(backup.pinReason ?? '')}"` : 'until deleted',
    printable(backup.fileName),
  ])
  output.line(table([header.map((cell) => output.paint('dim', cell)), ...rows]))
}

/** What sets a backup apart: the one that `latest` means, and those that it never means. */
function kindOf({ id, type, partial, safety }: Backup, latest: ReadonlySet<string>): string {
  const marks = [latest.has(id) ? 'latest' : null, safety ? 'safety' : null, partial ? 'partial' : null].filter((mark) => mark !== null)
  return marks.length === 0 ? type : `${type} (${marks.join(', ')})`
}

/** `show`: everything about one backup, and how to open it without Tidemark. */
export function renderBackup(output: Output, { backup, open, base }: Pick<ShownBackup, 'backup' | 'open' | 'base'>): void {
  const rows: (readonly string[])[] = [
    ['id', backup.id],
    backup.database === null ? ['cluster', printable(backup.cluster)] : ['database', `${printable(backup.database)} (cluster ${printable(backup.cluster)})`],
    ['state', `${output.paint(colours[backup.state], backup.state)}${backup.provenAt === null ? '' : `, proven ${formatUtc(backup.provenAt)} UTC`}`],
    ['taken', `${formatUtc(backup.startedAt)} → ${formatUtc(backup.endedAt)} UTC`],
    ['file', printable(backup.path ?? backup.key)],
    ['format', `${backup.format}, ${backup.compression}${backup.partial ? ', partial' : ''}`],
    ['size', `${formatBytes(backup.storedBytes)} stored, ${formatBytes(backup.sizeBytes)} ${backup.type === 'dump' ? 'out of pg_dump' : 'in the cluster'}`],
    ['checksum', backup.checksum],
    ['server', `PostgreSQL ${printable(backup.postgresVersion ?? 'unknown')}`],
    ['repositories', backup.repositories.map((name) => printable(name)).join(', ')],
    ['kept', backup.pinned ? `pinned: ${printable(backup.pinReason ?? '')}` : 'until deleted (no retention is set)'],
  ]
  if (base !== null) {
    rows.push(
      ['cluster id', base.systemIdentifier],
      ['WAL', `${backup.startLsn ?? ''} → ${backup.stopLsn ?? ''}, timeline ${backup.timeline ?? ''}`],
      ['read', howRead[base.how]],
    )
    if (base.prior !== null) rows.push(['compared with', base.prior])
    for (const { oid, path } of base.tablespaces) rows.push(['tablespace', `${oid} ${printable(path)}`])
    for (const why of base.why) rows.push(['', printable(why)])
  }
  if (backup.name !== null) rows.splice(1, 0, ['name', printable(backup.name)])
  for (const problem of backup.problems) rows.push(['problem', printable(`${problem.object}: ${problem.message}`)])
  output.line(table(rows.map(([key = '', value = '']) => [output.paint('dim', key), value])))
  renderLeftOut(output, backup.leftOut ?? [])
  if (backup.tables.length > 0) {
    output.line()
    const tables = backup.tables.toSorted((a, b) => (b.rows ?? 0) - (a.rows ?? 0)).slice(0, 20)
    output.line(
      table([
        [output.paint('dim', 'ROWS'), output.paint('dim', 'TABLE')],
        ...tables.map(({ schema, name, rows: count }) => [count === null ? '?' : formatCount(count), printable(`${schema}.${name}`)]),
      ]),
    )
    if (backup.tables.length > tables.length) output.line(`… and ${backup.tables.length - tables.length} smaller tables (--json lists all)`)
  }
  if (open !== null) {
    output.line()
    output.line(`Without Tidemark:  createdb restored`)
    output.line(`                   ${open}`)
  }
}

const howRead = {
  stream: 'every file, as the server sent it',
  direct: 'every file, where it lies',
  summaries: "what changed, by the server's summaries of its WAL",
} as const

const leftOutShown = 10

/** What the source has and the backup has not: nobody should learn of it at the restore. */
export function renderLeftOut(output: Output, leftOut: NonNullable<Backup['leftOut']>): void {
  for (const { what, why } of leftOut.slice(0, leftOutShown)) output.line(`  left out: ${printable(what)} (${printable(why)})`)
  if (leftOut.length > leftOutShown) output.line(`  … and ${leftOut.length - leftOutShown} more are left out (--json lists all)`)
}
