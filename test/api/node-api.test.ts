import { spawn } from 'node:child_process'
import { chmod, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure, openTidemark, type Event, type ListedBackup, type Tidemark } from '../../src/api/index.ts'
import * as everything from '../../src/api/index.ts'
import { sharedCluster, type ScratchDatabase } from '../support/cluster.ts'
import { urlOf } from '../support/tidemark-cli.ts'

const root = resolve(import.meta.dirname, '../..')
const rows = 500

let database: ScratchDatabase
let directory: string
let env: Record<string, string>

beforeAll(async () => {
  const cluster = await sharedCluster(15)
  database = await cluster.createScratchDatabase()
  await using session = await database.session()
  await session.query(`CREATE TABLE orders AS SELECT n AS id, 'order ' || n AS note FROM generate_series(1, ${rows}) AS n`)
  await session.query('CREATE SCHEMA audit')
  await session.query('CREATE TABLE audit.log (id int)')
  directory = await mkdtemp(join(tmpdir(), 'tidemark-api-'))
  env = { PATH: process.env['PATH'] ?? '', HOME: directory, DATABASE_URL: urlOf(database.target), BACKUP_DIR: join(directory, 'backups') }
}, 120_000)

afterAll(async () => {
  await database[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

const opened = (options: Parameters<typeof openTidemark>[0] = {}): Promise<Tidemark> => openTidemark({ env, cwd: directory, ...options })

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error instanceof Failure) return error
  throw new Error(error === undefined ? 'it succeeded, although a failure was expected' : 'it failed with something that is no Failure', { cause: error })
}

async function countOrders(name: string): Promise<number> {
  const cluster = await sharedCluster(15)
  await using session = await cluster.session(name)
  const [row] = await session.query<{ count: number }>('SELECT count(*)::int AS count FROM orders')
  return row?.count ?? -1
}

describe('a program that uses Tidemark', () => {
  it('takes a named backup, finds it again, verifies it by id and by path, and restores it beside the original', async () => {
    const events: Event[] = []
    await using tide = await opened({ onEvent: (event) => events.push(event) })
    const made = await tide.createBackup({ name: 'before-v5' })
    expect(made).toMatchObject({
      name: 'before-v5',
      state: 'verified',
      outcome: 'ok',
      warnings: [],
      filename: made.fileName,
      size: made.storedBytes,
      created: made.endedAt,
    })
    expect(made.checksum).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(events.some((event) => event.type === 'step-ended' && event.step === 'read-back')).toBe(true)

    const listed = await tide.listBackups()
    expect(listed.map(({ id, filename, size }) => ({ id, filename, size }))).toEqual([{ id: made.id, filename: made.filename, size: made.size }])
    const expected = { valid: true, tables: 2, tableNames: ['audit.log', 'public.orders'], checksum: made.checksum, id: made.id, intact: null, problems: [] }
    for (const wanted of [made.id, 'before-v5', 'latest', made.path ?? '', join(directory, 'backups/latest_backup.dump.zst')]) {
      const checked = await tide.verifyBackup(wanted)
      expect({ ...checked, tableNames: checked.tableNames.toSorted() }, wanted).toMatchObject(expected)
    }

    const { plan, result, outcome } = await tide.restoreBackup(made.path ?? '', { as: `${database.name}_beside`, validate: 'content' })
    expect([plan.action, outcome, result.validation, result.database]).toEqual(['create', 'ok', 'content', `${database.name}_beside`])
    expect(result.connection).toContain(':***@')
    expect(await countOrders(result.database)).toBe(rows)
    expect((await tide.undo(result.run)).kind).toBe('drop-created')
  })

  it('replaces the original only when told to, and undo brings back what was there', async () => {
    await using tide = await opened()
    await tide.createBackup({ name: 'good' })
    await using session = await database.session()
    await session.query('DELETE FROM orders WHERE id > 10')
    await session[Symbol.asyncDispose]()

    const refused = await failureOf(tide.restoreBackup('good', { as: database.name }))
    expect([refused.code, refused.exitCode]).toEqual(['target-unsafe', 15])
    expect((await tide.planRestore('good', { replace: true })).action).toBe('swap')
    expect(await countOrders(database.name)).toBe(10)

    const { result } = await tide.restoreBackup('good', { replace: true })
    expect(await countOrders(database.name)).toBe(rows)
    expect(result.safetyBackup).not.toBeNull()
    expect((await tide.undo()).kind).toBe('swap-back')
    expect(await countOrders(database.name)).toBe(10)
    await (await database.session()).query(`DROP DATABASE IF EXISTS "${result.keptAs ?? ''}"`)
  })

  it('puts deleted rows back into the original, after a safety backup, and never into it by name', async () => {
    await using tide = await opened()
    await using session = await database.session()
    await session.query(`DELETE FROM orders; INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, ${rows}) AS n`)
    await tide.createBackup({ name: 'whole' })
    await session.query('DELETE FROM orders WHERE id > 100')
    expect((await failureOf(tide.restoreBackup('whole', { tables: ['orders'], dataOnly: true, truncate: true, as: database.name }))).code).toBe('target-unsafe')
    const { plan, result } = await tide.restoreBackup('whole', { tables: ['orders'], dataOnly: true, truncate: true })
    expect([plan.action, await countOrders(database.name)]).toEqual(['into-existing', rows])
    expect((await tide.showBackup(result.safetyBackup ?? '')).tables.find(({ name }) => name === 'orders')?.rows).toBe(100)
  })

  it('says invalid, and names an intact backup, when a byte of the file was changed', async () => {
    await using tide = await opened()
    const intact = await tide.createBackup({ name: 'intact' })
    const { id, path } = await tide.createBackup({ name: 'hurt' })
    await flipByte(path ?? '')
    const checked = await tide.verifyBackup(path ?? '')
    expect([checked.valid, checked.state, checked.intact]).toEqual([false, 'damaged', intact.id])
    expect(checked.problems[0]).toMatchObject({ code: 'integrity' })
    expect((await failureOf(tide.restoreBackup(id, { as: 'never_made' }))).code).toBe('integrity')
    await tide.deleteBackup(id)
    expect((await tide.listBackups()).some((backup) => backup.id === id)).toBe(false)
  })

  it('keeps what is pinned, and says by code why a call failed', async () => {
    await using tide = await opened()
    const { id } = await tide.createBackup({ name: 'release' })
    expect((await tide.pin(id, { reason: 'the release' })).keptBecause).toBe('pinned: the release')
    expect((await tide.planDelete(id)).plans[0]?.plan.refusals[0]).toContain('pinned')
    expect((await failureOf(tide.deleteBackup(id))).code).toBe('target-unsafe')
    expect((await tide.unpin(id)).pinned).toBe(false)
    expect((await tide.latest()).id).toBe(id)
    expect((await tide.showBackup(id)).leftOut).toEqual([])
    expect((await tide.doctor()).findings.some((finding) => finding.check === 'connection' && finding.severity === 'ok')).toBe(true)
    expect(tide.config().find((row) => row.path.endsWith('.password'))?.value).not.toContain(database.target.password?.reveal() ?? 'no password')
    expect((await failureOf(tide.createBackup({ name: 'release' }))).code).toBe('name-taken')
    expect((await failureOf(tide.restoreBackup('19990101-000000-none'))).code).toBe('backup-missing')
    expect((await failureOf(tide.createBackup({ database: 'no_such_database' }))).code).toBe('database-missing')
    expect((await failureOf(openTidemark({ env: { ...env, DB_PORT: 'many' }, cwd: directory }))).code).toBe('config-invalid')
  })

  it('sees nothing of the process but what it was handed', async () => {
    await using tide = await openTidemark({ env: { PATH: env['PATH'] }, cwd: directory, databaseUrl: env['DATABASE_URL'] ?? '', directory: 'elsewhere' })
    const { path, outcome } = await tide.createBackup()
    expect([outcome, path?.startsWith(join(directory, 'elsewhere/'))]).toEqual(['ok', true])
  })

  it('takes a part when asked, says so, and never takes it for the latest', async () => {
    await using tide = await opened()
    const whole = await tide.createBackup()
    const names = ({ tables }: ListedBackup) => tables.map(({ schema, name }) => `${schema}.${name}`)
    const one = await tide.createBackup({ tables: ['orders'] })
    expect([names(one), one.partial]).toEqual([['public.orders'], true])
    expect(names(await tide.createBackup({ excludeTables: ['orders'] }))).toEqual(['audit.log'])
    expect((await tide.showBackup()).id).toBe(whole.id)
  })

  it('takes all configured databases, and refuses to guess which one is meant', async () => {
    const second = await (await sharedCluster(15)).createScratchDatabase()
    await using _second = second
    const file = join(directory, 'two.yaml')
    await writeFile(
      file,
      JSON.stringify({
        clusters: { shop: { url: 'env:DATABASE_URL', dump: { databases: [database.name, second.name] } } },
        repositories: { two: { path: './two' } },
      }),
    )
    await using tide = await opened({ configFile: file })
    const refused = await failureOf(tide.createBackup())
    expect([refused.code, refused.message]).toEqual(['usage-invalid', expect.stringContaining(second.name)])
    expect((await tide.createBackup({ database: second.name })).database).toBe(second.name)
    const all = await tide.createBackups()
    expect([all.outcome, all.backups.map((backup: ListedBackup) => backup.database)]).toEqual(['ok', [database.name, second.name]])
  })
})

describe('stopping', () => {
  it('rejects with "cancelled" and leaves no backup behind, by the call, by the opener and by closing', async () => {
    const before = (await (await opened()).listBackups()).length
    const stop = new AbortController()
    const stopWhenDumping = (event: Event) => event.type === 'step-begun' && event.step === 'dump' && stop.abort()
    await using one = await opened({ onEvent: stopWhenDumping })
    expect((await failureOf(one.createBackup({ signal: stop.signal }))).code).toBe('cancelled')

    await using two = await opened({ signal: stop.signal })
    expect((await failureOf(two.listBackups())).code).toBe('cancelled')

    const begun = Promise.withResolvers<void>()
    const three = await opened({ onEvent: (event) => event.type === 'step-begun' && event.step === 'dump' && begun.resolve() })
    const backup = failureOf(three.createBackup())
    await begun.promise
    await three[Symbol.asyncDispose]()
    expect((await backup).code).toBe('cancelled')
    expect((await failureOf(three.listBackups())).message).toContain('closed')

    await using after = await opened()
    expect((await after.listBackups()).length).toBe(before)
    expect((await after.createBackup()).outcome).toBe('ok')
  })

  it('lets a listener that throws disturb no backup, and does not swallow what it threw', async () => {
    const script = `
      const { openTidemark } = require(${JSON.stringify(join(root, 'entry/require.cjs'))})
      let uncaught = 0
      process.on('uncaughtException', (error) => { if (error.message === 'listener') uncaught++ })
      openTidemark({ onEvent: () => { throw new Error('listener') } }).then((tide) => tide.createBackup()).then((made) => console.log(made.outcome, uncaught > 0))`
    expect(await runNode(['--eval', script])).toMatchObject({ exitCode: 0, stdout: 'ok true\n' })
  })
})

describe('the package', () => {
  it('runs the one-liners of a program that had its own backup service, with only the path changed', async () => {
    const path = JSON.stringify(join(root, 'entry/require.cjs'))
    const created = await runNode([
      '-e',
      `const b = require(${path}).default; b.createBackup({ name: 'manual' }).then(r => { console.log(r.path); console.log(r.size); console.log(r.checksum) }).catch(console.error)`,
    ])
    const [file = '', size = '', checksum = ''] = created.stdout.split('\n')
    expect([created.exitCode, Number(size) > 0]).toEqual([0, true])
    const listed = await runNode([
      '-e',
      `const b = require(${path}).default; b.listBackups().then(all => all.forEach(x => console.log(x.filename + ' ' + x.size + ' ' + x.created)))`,
    ])
    expect(listed.stdout).toMatch(new RegExp(`^manual\\.dump\\.zst ${size} \\d{4}-\\d\\d-\\d\\dT.*Z$`, 'm'))
    const verified = await runNode([
      '-e',
      `const b = require(${path}).default; b.verifyBackup(${JSON.stringify(file)}).then(r => console.log(r.valid, r.tables, r.checksum))`,
    ])
    expect(verified.stdout).toBe(`true 2 ${checksum}\n`)
    const refused = await runNode(['-e', `const b = require(${path}).default; b.restoreBackup('nothing-like-that').catch(error => console.log(error.code))`])
    expect(refused.stdout).toBe('backup-missing\n')
  })

  it('gives `import` and `require` the same', async () => {
    const script = `import * as imported from ${JSON.stringify(join(root, 'entry/import.mjs'))}; console.log(JSON.stringify(Object.keys(imported).sort()))`
    const { stdout } = await runNode(['--input-type=module', '-e', script])
    expect(JSON.parse(stdout)).toEqual(Object.keys(everything).toSorted())
  })

  it.each([
    ['require', ['-e', `require(${JSON.stringify(join(root, 'entry/require.cjs'))})`]],
    ['import', ['--input-type=module', '-e', `import ${JSON.stringify(join(root, 'entry/import.mjs'))}`]],
  ])('says by %s in an older Node which one it needs', async (_how, args) => {
    const room = await mkdtemp(join(tmpdir(), 'tidemark-old-node-'))
    try {
      // As an older Node would call itself; a real one is not on every machine.
      const preload = join(room, 'old.cjs')
      await writeFile(
        preload,
        "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '22.1.0' } }); Object.defineProperty(process, 'version', { value: 'v22.1.0' })",
      )
      const { exitCode, stderr } = await runNode(['--require', preload, ...args])
      expect(exitCode).not.toBe(0)
      expect(stderr).toMatch(/needs Node 26 or newer; this is v22\.1\.0/)
    } finally {
      await rm(room, { recursive: true, force: true })
    }
  })
})

describe('the example', () => {
  it('type-checks against the API', async () => {
    const { stdout, stderr } = await runNode([join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'examples')])
    // The rest of the program is checked by `make lint`.
    expect([stdout.split('\n').filter((line) => line.includes('examples/')), stderr]).toEqual([[], ''])
  })

  it('backs up, verifies, restores beside and proves against a real server', async () => {
    const { exitCode, stdout, stderr } = await runNode([join(root, 'examples/backup-before-deploy.ts')])
    expect([exitCode, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/verified.*\n.*proven/s)
  })

  it('ends with an exit code and the hint of the failure when the server is not there', async () => {
    const { exitCode, stderr } = await runNode([join(root, 'examples/backup-before-deploy.ts')], { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing' })
    expect(exitCode).toBe(1)
    expect(stderr).toContain('connection-failed')
  })
})

async function flipByte(path: string): Promise<void> {
  await chmod(path, 0o600)
  await using file = await open(path, 'r+')
  const { size } = await file.stat()
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, Math.floor(size / 2))
  byte.writeUInt8(byte.readUInt8(0) ^ 0xff)
  await file.write(byte, 0, 1, Math.floor(size / 2))
}

async function runNode(
  args: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Promise<{ exitCode: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, args, { cwd: directory, env: { ...env, ...more }, stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const exitCode = await new Promise<number | null>((done, failed) => child.on('error', failed).on('close', done))
  return { exitCode, stdout, stderr }
}
