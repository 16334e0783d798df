/** What the name of a foreign dump tells. The names are those that the seeds' scripts and `pg_dump`'s own documentation use. */
export interface DumpName {
  /** Everything before the dump's extension. */
  readonly stem: string
  readonly extension: DumpExtension
  /** The database, where the name begins with it. */
  readonly database: string | null
  readonly time: NamedTime | null
}

type PlainExtension = '.sql' | '.sql.gz' | '.sql.zst' | '.dump' | '.dump.zst'
export type DumpExtension = PlainExtension | `${PlainExtension}.age`

/** A time as written: on the wall of the cluster's zone, or in UTC where it ends in `Z`. */
export type NamedTime = { readonly kind: 'local'; readonly at: Temporal.PlainDateTime } | { readonly kind: 'utc'; readonly at: Temporal.Instant }

const dumpExtension = /^(?<stem>.+?)(?<extension>\.(?:sql\.gz|sql\.zst|dump\.zst|sql|dump)(?:\.age)?)$/s

/** Files that look like backups and that cannot be taken in, with the reason; the rest of a directory is nobody's business. */
const foreign: readonly (readonly [RegExp, string])[] = [
  [/\.(sql|dump)(\.gz|\.zst)?\.(gpg|asc)$/i, 'it is encrypted; decrypt it first'],
  [/\.(sql|dump)\.(bz2|xz|lz4|zip|7z)$/i, 'its compression is not gzip or zstd; decompress it first'],
  [/\.dump\.gz(\.age)?$/i, 'a custom archive in gzip cannot be opened by pg_restore; decompress it first (gunzip)'],
  [/(^|[/_.-])(base)?backup[^/]*\.(tar|tar\.gz|tgz)$|\.tar\.(sql|dump)$/i, 'it is a tar file, not a dump of one database'],
  [/\.(sql|dump)\.(part|partial|tmp|incomplete)$/i, 'its name says that it was not finished'],
  [/(^|\/)toc\.dat(\.age)?$/, 'it belongs to a dump in directory format, which is not taken in; take a new one: tidemark backup --format directory'],
]

/** Reads the name of a dump; for something else that looks like a backup, why it cannot be taken in; undefined for any other file. */
export function readDumpName(fileName: string): DumpName | { readonly why: string } | undefined {
  const found = dumpExtension.exec(fileName)?.groups
  if (found === undefined) {
    const why = foreign.find(([pattern]) => pattern.test(fileName))?.[1]
    return why === undefined ? undefined : { why }
  }
  const stem = found['stem'] ?? ''
  const time = timeIn(stem)
  return { stem, extension: found['extension'] as DumpExtension, database: databaseIn(stem, time?.index ?? null), time: time?.time ?? null }
}

// Digits must not continue on either side, or a number of another kind would be read as a date.
const timePatterns: readonly RegExp[] = [
  /(?<!\d)(?<y>\d{4})-(?<m>\d{2})-(?<d>\d{2})[T_ -](?<h>\d{2})[:.-]?(?<i>\d{2})(?:[:.-]?(?<s>\d{2}))?(?<z>Z)?(?!\d)/g,
  /(?<!\d)(?<y>\d{4})(?<m>\d{2})(?<d>\d{2})[T_.-]?(?<h>\d{2})[:-]?(?<i>\d{2})(?:[:-]?(?<s>\d{2}))?(?<z>Z)?(?!\d)/g,
  /(?<!\d)(?<y>\d{4})[_-](?<m>\d{2})[_-](?<d>\d{2})(?!\d)/g,
  /(?<!\d)(?<y>\d{4})(?<m>\d{2})(?<d>\d{2})(?!\d)/g,
]

/** The last time in the text, by the most exact pattern that gives a real one. */
function timeIn(stem: string): { time: NamedTime; index: number } | null {
  for (const pattern of timePatterns) {
    for (const match of [...stem.matchAll(pattern)].reverse()) {
      const part = (name: string) => Number(match.groups?.[name] ?? 0)
      const time = realTime(
        { year: part('y'), month: part('m'), day: part('d'), hour: part('h'), minute: part('i'), second: part('s') },
        match.groups?.['z'] === 'Z',
      )
      if (time !== null) return { time, index: match.index }
    }
  }
  return null
}

function realTime(fields: { year: number; month: number; day: number; hour: number; minute: number; second: number }, isUtc: boolean): NamedTime | null {
  // PostgreSQL and its dumps begin in 1996; what gives another century is not a date.
  if (fields.year < 1996 || fields.year > 2199) return null
  try {
    const at = Temporal.PlainDateTime.from(fields, { overflow: 'reject' })
    return isUtc ? { kind: 'utc', at: at.toZonedDateTime('UTC').toInstant() } : { kind: 'local', at }
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}

/** Words of scripts, not of databases. */
const generic =
  /^(backup|backups|dump|db|database|postgres|postgresql|pg|postgres[-_]dump|pg[-_]dump|pgdump|postgres[-_]backup|pg[-_]backup|db[-_]backup|db[-_]dump|full|partial|latest|daily|weekly|monthly|hourly|manual|pre|auto)([-_](backup|dump))?$/i

/** What stands before the time: `pivotal_flow_backup_2024…` → `pivotal_flow`. Without a time a name says nothing. */
function databaseIn(stem: string, timeIndex: number | null): string | null {
  if (timeIndex === null) return null
  const before = stem.slice(0, timeIndex).replace(/[-_. ]+$/, '')
  const database = before.replace(/[-_.](backup|dump|db[-_]backup)$/i, '')
  return database === '' || generic.test(before) || generic.test(database) ? null : database
}
