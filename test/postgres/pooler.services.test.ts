import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../../src/kernel/failure.ts'
import { requireSessionPooling } from '../../src/postgres/pooler.ts'
import { openSession } from '../../src/postgres/session.ts'
import type { ConnectionTarget } from '../../src/postgres/target.ts'
import { sharedCluster } from '../support/cluster.ts'

const pgbouncer = '/usr/sbin/pgbouncer'
const named = { applicationName: 'tidemark test' }
const title = existsSync(pgbouncer) ? 'PgBouncer [needs pgbouncer]' : 'PgBouncer [needs pgbouncer] — skipped: apt-get install pgbouncer'

// Where the services are expected, pgbouncer is one of the packages they bring: then its absence is a failure, not a skip.
if (!existsSync(pgbouncer) && (process.env['TIDEMARK_EXPECT_SERVICES'] ?? '') !== '')
  throw new Error(`${pgbouncer} is missing although the services are expected`)

describe.skipIf(!existsSync(pgbouncer))(title, () => {
  let directory: string
  let bouncer: ChildProcess
  let pooled: ConnectionTarget

  beforeAll(async () => {
    const { target, server } = await sharedCluster(15)
    directory = await mkdtemp(join(tmpdir(), 'tidemark-pooler-'))
    await chmod(directory, 0o755)
    const probe = createServer().listen(0, '127.0.0.1')
    await once(probe, 'listening')
    const port = (probe.address() as { port: number }).port
    probe.close()
    const to = `host=${server.socketDirectory} port=${server.port} user=postgres`
    await writeFile(
      join(directory, 'pgbouncer.ini'),
      `[databases]\nby_transaction = ${to} dbname=postgres pool_mode=transaction\nby_session = ${to} dbname=postgres pool_mode=session\n
[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\nunix_socket_dir =\nauth_type = any\n`,
      { mode: 0o644 },
    )
    // Not as root; the server's own account may enter its 0700 socket directory.
    const uid = process.getuid?.() === 0 ? { uid: (await import('node:fs/promises').then(({ stat }) => stat(server.dataDirectory))).uid } : {}
    bouncer = spawn(pgbouncer, [join(directory, 'pgbouncer.ini')], { stdio: 'ignore', cwd: '/', ...uid })
    pooled = { ...target, port, password: null }
    for (;;) {
      const session = await openSession({ ...pooled, database: 'by_session' }, named).catch(() => null)
      await session?.[Symbol.asyncDispose]()
      if (session !== null) return
    }
  })
  afterAll(async () => {
    bouncer.kill('SIGTERM')
    await once(bouncer, 'exit')
    await rm(directory, { recursive: true })
  })

  it('in transaction mode is recognised and refused, with the way around it', async () => {
    await using session = await openSession({ ...pooled, database: 'by_transaction' }, named)
    const failure = await requireSessionPooling(session).then(
      () => null,
      (error: unknown) => error,
    )
    expect(failure).toBeInstanceOf(Failure)
    expect(failure).toMatchObject({
      code: 'pooler-refused',
      message: expect.stringContaining('transaction pooler'),
      hints: expect.arrayContaining([expect.stringContaining('direct (session) connection')]),
    })
  })

  it('in session mode passes', async () => {
    await using session = await openSession({ ...pooled, database: 'by_session' }, named)
    await requireSessionPooling(session)
  })
})

it('a server without a pooler passes, and its session is left as it was', async () => {
  const cluster = await sharedCluster(15)
  await using session = await cluster.session()
  await requireSessionPooling(session)
  expect(await session.query(`SELECT current_setting('tidemark.probe', true) AS mark`)).toEqual([{ mark: '' }])
})
