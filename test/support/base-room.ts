import { chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { endServerOf } from '../../src/postgres/embedded-leftovers.ts'
import { quoteIdentifier } from '../../src/postgres/identifiers.ts'
import { openSession, type Session } from '../../src/postgres/session.ts'
import { findAccount } from '../../src/postgres/system-account.ts'
import type { ConnectionTarget } from '../../src/postgres/target.ts'
import type { Backup } from '../../src/repository/backup.ts'
import type { RestoreDirectoryOutcome } from '../../src/api/restore-directory.ts'
import { embeddedSource, type TestCluster } from './cluster.ts'
import { tidemarkRoom, type TidemarkRoom } from './tidemark-cli.ts'

/** Somebody who backs a whole cluster up, and restores it to directories beside. Servers that were started are ended, and everything is removed. */
export interface BaseRoom extends AsyncDisposable {
  readonly room: TidemarkRoom
  /** A place that is not there yet, whose parents the server's account may enter. */
  place(): string
  backup(type: 'full' | 'incr', flags?: readonly string[]): Promise<Backup & { readonly warnings: readonly string[] }>
  /** Restores, starts a server of the same major there, and connects as superuser. */
  restore(wanted: string, flags?: readonly string[]): Promise<RestoredCopy>
}

export interface RestoredCopy {
  readonly directory: string
  readonly outcome: RestoreDirectoryOutcome
  session(database?: string): Promise<Session>
  stop(): Promise<void>
}

export async function baseRoom(cluster: TestCluster): Promise<BaseRoom> {
  const room = await tidemarkRoom({ target: cluster.target, env: { TIDEMARK_CACHE_DIR: join(embeddedSource.cacheDir, '..') } })
  const parent = await mkdtemp(join(tmpdir(), 'tidemark-base-'))
  await chmod(parent, 0o755)
  const places: string[] = []
  const place = (): string => {
    const directory = join(parent, `copy-${places.length + 1}`)
    places.push(directory)
    return directory
  }
  return {
    room,
    place,
    backup: (type, flags = []) => room.json(['backup', '--type', type, ...flags]),
    restore: async (wanted, flags = []) => {
      const directory = place()
      const outcome = await room.json<RestoreDirectoryOutcome>(['restore', wanted, '--into', directory, '--start', ...flags], {
        env: { TIDEMARK_PG_BIN: cluster.server.binDir },
      })
      const target = socketTarget(outcome)
      return {
        directory,
        outcome,
        session: (database = 'postgres') => openSession({ ...target, database }, { applicationName: 'tidemark test' }),
        stop: () => endServerOf(directory),
      }
    },
    [Symbol.asyncDispose]: async () => {
      for (const directory of places) await endServerOf(directory)
      await rm(parent, { recursive: true, force: true })
      await room[Symbol.asyncDispose]()
    },
  }
}

function socketTarget({ result }: RestoreDirectoryOutcome): ConnectionTarget {
  if (result?.port == null) throw new Error('no server was started')
  return {
    host: result.socketDirectory,
    port: result.port,
    user: 'postgres',
    database: 'postgres',
    password: null,
    passFile: null,
    tls: { mode: 'disable', rootCertFile: null, certFile: null, keyFile: null },
    connectTimeoutSeconds: 10,
    parameters: {},
    container: null,
  }
}

/** A directory for a tablespace, which the server's account owns. */
export async function tablespaceDirectory(cluster: TestCluster, name: string): Promise<string> {
  const directory = join(cluster.server.dataDirectory, '..', name)
  await mkdir(directory)
  const account = await findAccount('postgres')
  if (account !== null && process.getuid?.() === 0) await chown(directory, account.uid, account.gid)
  return directory
}

/** Every row of every table of every database, as one text for each table: what two clusters with the same content have alike. */
export async function contentOf(open: (database?: string) => Promise<Session>): Promise<Readonly<Record<string, string>>> {
  const content: Record<string, string> = {}
  await using first = await open()
  // With -2 one is marked whose DROP DATABASE did not come to its end.
  const databases = await first.query<{ name: string }>('SELECT datname AS name FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY 1')
  for (const { name: database } of databases) {
    await using session = await open(database)
    const tables = await session.query<{ schema: string; name: string; kind: string }>(
      `SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'm', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND c.relpersistence = 'p' ORDER BY 1, 2`,
    )
    for (const { schema, name, kind } of tables) {
      const table = `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`
      // A sequence is ahead by what its WAL record has in advance.
      const [row] =
        kind === 'S'
          ? [{ digest: 'a sequence' }]
          : await session.query<{ digest: string }>(
              `SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') AS digest FROM ${table} t`,
            )
      content[`${database} ${table}`] = row?.digest ?? ''
    }
  }
  return content
}

/** What amcheck finds wrong with the heaps and B-trees of a database. */
export async function amcheck(session: Session): Promise<readonly string[]> {
  await session.query('CREATE EXTENSION IF NOT EXISTS amcheck')
  const problems: string[] = []
  const indexes = await session.query<{ name: string; oid: number }>(
    `SELECT c.relname AS name, c.oid::int AS oid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
     WHERE a.amname = 'btree' AND i.indisvalid AND c.relpersistence = 'p' AND c.relkind = 'i'`,
  )
  for (const { name, oid } of indexes) {
    try {
      await session.query(`SELECT bt_index_parent_check(${oid}::oid::regclass, true)`)
    } catch (error) {
      problems.push(`index ${name}: ${String(error)}`)
    }
  }
  if (session.serverVersionNum < 140_000) return problems
  const heaps = await session.query<{ name: string; message: string }>(
    `SELECT c.relname AS name, v.msg AS message FROM pg_class c, LATERAL verify_heapam(c.oid) v WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p'`,
  )
  return [...problems, ...heaps.map(({ name, message }) => `heap ${name}: ${message}`)]
}
