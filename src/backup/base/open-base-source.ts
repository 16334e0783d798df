import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure, messageOf } from '../../kernel/failure.ts'
import { reachServer } from '../../postgres/reach.ts'
import { identifySystem } from '../../postgres/replication/replication-commands.ts'
import { openReplicationConnection, type ReplicationConnection } from '../../postgres/replication/replication-connection.ts'
import type { Session } from '../../postgres/session.ts'
import type { BaseBackupRequest } from './base-request.ts'

/** A server that a base backup is taken of: an ordinary session for facts, and two connections in replication mode, one for the files and one for WAL. */
export interface BaseSource extends AsyncDisposable {
  readonly session: Session
  readonly files: ReplicationConnection
  readonly wal: ReplicationConnection
  readonly facts: BaseSourceFacts
}

export interface BaseSourceFacts {
  readonly systemIdentifier: string
  readonly timeline: number
  /** `15.20`. */
  readonly version: string
  readonly major: number
  readonly pageBytes: number
  readonly walSegmentBytes: number
  /** `RELSEG_SIZE`: pages in a segment file of a relation. */
  readonly segmentPages: number
  readonly dataChecksums: boolean
  /** What a server must have at least as much of, or in the same way, to recover the backup. */
  readonly settings: Readonly<Record<string, string>>
  readonly outside: readonly { readonly setting: string; readonly path: string; readonly text: string }[]
  readonly leftOut: readonly { readonly what: string; readonly why: string }[]
}

const recordedSettings = [
  'max_connections',
  'max_worker_processes',
  'max_wal_senders',
  'max_prepared_transactions',
  'max_locks_per_transaction',
  'track_commit_timestamp',
  'wal_level',
  'wal_log_hints',
  'summarize_wal',
  'wal_compression',
  'default_toast_compression',
  'full_page_writes',
  'archive_mode',
  'shared_preload_libraries',
  'data_directory_mode',
  'server_encoding',
  'lc_messages',
]
const configurationFiles = ['config_file', 'hba_file', 'ident_file']

export async function openBaseSource(request: BaseBackupRequest, context: Context): Promise<BaseSource> {
  await using stack = new AsyncDisposableStack()
  const options = { applicationName: 'tidemark base backup', signal: context.signal, emit: context.emit }
  const reached = await reachServer(request.target, request.reach, options)
  const session = stack.use(reached.session)
  if (session.via === 'container') {
    throw new Failure(
      'connection-failed',
      'a base backup needs a connection to the server itself, and this one is reached only through psql in its container',
      {
        hints: ['publish the port of the container, and name it in the connection', 'a dump works this way: tidemark backup --type dump'],
      },
    )
  }
  const files = stack.use(await openReplicationConnection(reached.target, options))
  const wal = stack.use(await openReplicationConnection(reached.target, { ...options, applicationName: 'tidemark base backup WAL' }))
  const { systemIdentifier, timeline } = await identifySystem(files)
  const facts = { ...(await readFacts(session)), systemIdentifier, timeline }
  const owned = stack.move()
  return { session, files, wal, facts, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

async function readFacts(session: Session): Promise<Omit<BaseSourceFacts, 'systemIdentifier' | 'timeline'>> {
  const rows = await session.query<{ name: string; setting: string }>('SELECT name, setting FROM pg_catalog.pg_settings')
  const settings = new Map(rows.map(({ name, setting }) => [name, setting]))
  const valueOf = (name: string): string => {
    const value = settings.get(name)
    if (value === undefined) throw new Failure('query-failed', `the server does not say what "${name}" is`)
    return value
  }
  const { outside, leftOut } = await readOutside(session)
  return {
    version: valueOf('server_version').split(' ')[0] ?? '',
    major: Math.floor(session.serverVersionNum / 10_000),
    pageBytes: Number(valueOf('block_size')),
    walSegmentBytes: Number(valueOf('wal_segment_size')),
    segmentPages: Number(valueOf('segment_size')),
    dataChecksums: valueOf('data_checksums') === 'on',
    settings: Object.fromEntries(recordedSettings.flatMap((name) => (settings.has(name) ? [[name, valueOf(name)]] : []))),
    outside,
    leftOut,
  }
}

/** Configuration that is not in the data directory, as on Debian. Not every role may read it; a backup without it is still one. */
async function readOutside(session: Session): Promise<Pick<BaseSourceFacts, 'outside' | 'leftOut'>> {
  const places = await session.query<{ setting: string; path: string | null; directory: string | null }>(
    `SELECT name AS setting, setting AS path, (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory') AS directory FROM pg_catalog.pg_settings WHERE name = ANY ($1)`,
    [configurationFiles],
  )
  // Without the right to see them (pg_read_all_settings) there is no row.
  if (places.length < configurationFiles.length) {
    const why = 'the role may not see where it lies; GRANT pg_read_all_settings, or pg_monitor, to it'
    return { outside: [], leftOut: [{ what: 'configuration outside of the data directory, if there is any', why }] }
  }
  const outside: { setting: string; path: string; text: string }[] = []
  const leftOut: { what: string; why: string }[] = []
  for (const { setting, path, directory } of places) {
    if (path === null || path === '' || (directory !== null && path.startsWith(`${directory}/`))) continue
    try {
      const [row] = await session.query<{ text: string }>('SELECT pg_catalog.pg_read_file($1) AS text', [path])
      outside.push({ setting, path, text: row?.text ?? '' })
    } catch (error) {
      if (!isFailure(error, 'permission-denied', 'query-failed')) throw error
      leftOut.push({ what: path, why: `it lies outside of the data directory and cannot be read (GRANT pg_read_server_files): ${messageOf(error)}` })
    }
  }
  return { outside, leftOut }
}
