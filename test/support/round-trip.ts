import { expect } from 'vitest'
import type { RestorePlan } from '../../src/restore/restore-plan.ts'
import type { RestoreResult } from '../../src/api/restore-options.ts'
import { quoteLiteral } from '../../src/postgres/identifiers.ts'
import type { Backup } from '../../src/repository/backup.ts'
import { sharedCluster, type TestCluster } from './cluster.ts'
import { dumpText, firstDifference, stockClient } from './stock-tools.ts'
import { tidemarkRoom, type TidemarkRoom } from './tidemark-cli.ts'
import { movingLeaves } from './workload.ts'

/** The client programs of one major: those Tidemark is to use, and those of the judge. */
export interface RoundTripServer {
  readonly major: number
  readonly binDir: string
}

export interface RoundTrip {
  readonly cluster: TestCluster
  readonly room: TidemarkRoom
  readonly backup: Backup & { warnings: string[] }
  readonly result: RestoreResult
  readonly source: string
  readonly copy: string
}

export interface RoundTripOptions {
  readonly name: string
  readonly create: (cluster: TestCluster, name: string) => Promise<void>
  readonly backup?: readonly string[]
  readonly restore?: readonly string[]
}

/** backup → restore beside it on the same server → compared by our fingerprint and by an independent judge. `after` gets to see both. */
export async function roundTrip(
  { major, binDir }: RoundTripServer,
  options: RoundTripOptions,
  after: (trip: RoundTrip) => Promise<void> = async () => undefined,
): Promise<void> {
  const cluster = await sharedCluster(major)
  const [source, copy] = [options.name, `${options.name}_copy`]
  await options.create(cluster, source)
  await using room = await tidemarkRoom({ target: { ...cluster.target, database: source }, env: { TIDEMARK_PG_BIN: binDir } })
  const backup = await room.json<RoundTrip['backup']>(['backup', ...(options.backup ?? [])])
  expect(backup).toMatchObject({ state: 'verified', warnings: [], partial: false })
  const { plan, result } = await room.json<{ plan: RestorePlan; result: RestoreResult }>([
    'restore',
    'latest',
    '--as',
    copy,
    '--validate',
    'content',
    ...(options.restore ?? []),
  ])
  expect(plan.refusals).toEqual([])
  expect({ errors: result.errors, warnings: result.warnings, validation: result.validation }).toEqual({ errors: [], warnings: [], validation: 'content' })
  expect(result.tables.filter((table) => !table.match)).toEqual([])
  expect(result.tables).toHaveLength(backup.tables.length)
  expect(await judge({ major, binDir }, cluster, source, copy)).toBeNull()
  await after({ cluster, room, backup, result, source, copy })
  await dropAll(cluster, [source, copy])
}

/** Says where two databases differ, by what stock programs say of them; null when they do not. Nothing of Tidemark takes part. */
export async function judge({ binDir }: RoundTripServer, cluster: TestCluster, source: string, copy: string): Promise<string | null> {
  const texts = await Promise.all([source, copy].map((database) => describeDatabase(binDir, cluster, database)))
  return firstDifference(texts[0] ?? '', texts[1] ?? '')
}

async function describeDatabase(binDir: string, cluster: TestCluster, database: string): Promise<string> {
  const target = { ...cluster.target, database }
  const ask = async (sql: string) =>
    (await stockClient(binDir, 'psql', ['-X', '-A', '-t', '-c', sql], target, { PGCLIENTENCODING: 'UTF8', PGOPTIONS: '-c TimeZone=UTC' })).toString('latin1')
  // Rows of an enum's hash partitions may lie in another leaf after a restore: read at the root, in an order of their own.
  const text = await dumpText(
    binDir,
    target,
    movingLeaves.map((leaf) => `--exclude-table-data=${leaf}`),
  )
  const moved = await ask(
    `SELECT CASE WHEN to_regclass('wl.by_enum') IS NULL THEN '' ELSE query_to_xml('SELECT e::text, v FROM wl.by_enum ORDER BY v, 1', true, false, '')::text END`,
  )
  // What belongs to the database itself is in no dump of it; the name and the owner's mark differ by intent.
  const own = await ask(`
    SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype, datconnlimit, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce(datacl, acldefault('d', datdba))) a),
           (SELECT array_agg(coalesce(r.rolname, '') || ':' || c ORDER BY r.rolname, c) FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c WHERE s.setdatabase = d.oid)
    FROM pg_database d WHERE datname = ${quoteLiteral(database)}`)
  const populated = await ask(
    `SELECT relname, relispopulated, relpersistence FROM pg_class WHERE relnamespace = to_regnamespace('wl') AND relkind IN ('m', 'r') ORDER BY 1`,
  )
  const indexes = await ask(`SELECT count(*), count(*) FILTER (WHERE indisvalid AND indisready) FROM pg_index WHERE indexrelid >= 16384`)
  return [text, moved, own, populated, indexes].join('\n')
}

export async function dropAll(cluster: TestCluster, databases: readonly string[]): Promise<void> {
  await using session = await cluster.session()
  for (const database of databases) await session.query(`DROP DATABASE IF EXISTS "${database.replaceAll('"', '""')}" WITH (FORCE)`)
}
