import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../../src/kernel/failure.ts'
import { startClient } from '../../src/postgres/client-process.ts'
import { chooseClientTools, discoverClientTools } from '../../src/postgres/client-tools.ts'
import { openSession } from '../../src/postgres/session.ts'
import type { ConnectionTarget, TlsOptions } from '../../src/postgres/target.ts'
import { makeCertificates } from '../support/certificates.ts'
import { ownCluster, type TestCluster } from '../support/cluster.ts'
import { withOverrides } from '../support/targets.ts'

describe('TLS', () => {
  let directory: string
  let cluster: TestCluster
  let target: ConnectionTarget
  const authority = () => join(directory, 'ca.crt')

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tidemark-tls-'))
    await chmod(directory, 0o755)
    await makeCertificates(directory)
    cluster = await ownCluster(15, {
      listen_addresses: '127.0.0.1,127.0.0.2',
      ssl: 'on',
      ssl_cert_file: join(directory, 'server.crt'),
      ssl_key_file: join(directory, 'server.key'),
    })
    target = cluster.target
    // Only encrypted connections from here on.
    const hba = join(cluster.server.dataDirectory, 'pg_hba.conf')
    await writeFile(hba, (await readFile(hba, 'utf8')).replaceAll(/^host /gm, 'hostssl ').replaceAll('127.0.0.1/32', '127.0.0.0/8'))
    await cluster.server.restart()
  })
  afterAll(async () => {
    await cluster.server[Symbol.asyncDispose]()
    await rm(directory, { recursive: true })
  })

  const using = (host: string, tls: Partial<TlsOptions>) => withOverrides(target, { host, tls: { rootCertFile: null, ...tls } })

  /** Our own session and a client program must judge alike. */
  async function both(place: ConnectionTarget): Promise<{ session: string; program: string }> {
    const session = await (async () => {
      await using open = await openSession(place, { applicationName: 'tidemark test' })
      const [row] = await open.query<{ ssl: boolean }>('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')
      return row?.ssl === true ? 'encrypted' : 'clear'
    })().catch(messageOf)
    const { tools } = chooseClientTools(await discoverClientTools({ path: process.env['PATH'] ?? '' }), {
      serverMajor: 15,
      purpose: 'dump',
      programs: ['psql'],
    })
    if (tools.programs.psql === undefined) throw new Error('no psql')
    await using psql = await startClient(
      tools.programs.psql,
      ['-X', '-At', '-c', `SELECT CASE WHEN ssl THEN 'encrypted' ELSE 'clear' END FROM pg_stat_ssl WHERE pid = pg_backend_pid()`],
      place,
      { applicationName: 'tidemark test' },
    )
    const printed = (await text(psql.stdout)).trim()
    const program = await psql.requireSuccess().then(() => printed, messageOf)
    return { session, program }
  }

  it.each([
    ['verify-full', '127.0.0.1', true, 'encrypted'],
    ['verify-full', 'localhost', true, 'encrypted'],
    ['verify-ca', '127.0.0.2', true, 'encrypted'],
    ['require', '127.0.0.1', false, 'encrypted'],
    ['prefer', '127.0.0.1', false, 'encrypted'],
    ['allow', '127.0.0.1', false, 'encrypted'],
  ] as const)('%s to %s (authority given: %s) is %s', async (mode, host, withAuthority, outcome) => {
    expect(await both(using(host, { mode, rootCertFile: withAuthority ? authority() : null }))).toEqual({ session: outcome, program: outcome })
  })

  it.each([
    ['verify-full', '127.0.0.2', true, /another host name/, /does not match host name/],
    ['verify-full', '127.0.0.1', false, /not signed by an authority/, /certificate verify failed/],
    ['verify-ca', '127.0.0.1', false, /not signed by an authority/, /certificate verify failed/],
    ['disable', '127.0.0.1', false, /no encryption/, /no encryption/],
  ] as const)('%s to %s (authority given: %s) is refused', async (mode, host, withAuthority, session, program) => {
    expect(await both(using(host, { mode, rootCertFile: withAuthority ? authority() : null }))).toEqual({
      session: expect.stringMatching(session),
      program: expect.stringMatching(program),
    })
  })

  it('holds the server to channel binding and to the methods that are allowed', async () => {
    const place = using('127.0.0.1', { mode: 'verify-full', rootCertFile: authority() })
    const attempt = async (parameters: Record<string, string>, at = place) => {
      await using session = await openSession(withOverrides(at, { parameters }), { applicationName: 'tidemark test' })
      return session.user
    }
    expect(await attempt({ channel_binding: 'require', require_auth: 'scram-sha-256' })).toBe('postgres')
    expect(await attempt({ require_auth: '!password,!md5' })).toBe('postgres')
    await expect(attempt({ require_auth: 'md5' })).rejects.toMatchObject({
      code: 'connection-failed',
      message: expect.stringContaining('require_auth=md5 forbids'),
    })
    await expect(attempt({ channel_binding: 'require' }, cluster.server.socketTarget)).rejects.toMatchObject({
      message: expect.stringContaining('no channel binding'),
    })
    await expect(attempt({ require_auth: '!none' }, cluster.server.socketTarget)).rejects.toMatchObject({ message: expect.stringContaining('"none"') })
  })

  it('cancels a statement through TLS too', async () => {
    const stop = new AbortController()
    const session = await openSession(using('127.0.0.1', { mode: 'verify-full', rootCertFile: authority() }), {
      applicationName: 'tidemark test',
      signal: stop.signal,
    })
    await using watcher = await openSession(cluster.server.socketTarget, { applicationName: 'tidemark test' })
    const sleeping = session.query('SELECT pg_sleep(60)').then(() => 'slept', messageOf)
    for (;;) if ((await watcher.query(`SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = 'active'`, [session.backendPid])).length > 0) break
    stop.abort(new Failure('cancelled', 'stopped'))
    expect(await sleeping).toBe('stopped')
    for (;;) if ((await watcher.query('SELECT 1 FROM pg_stat_activity WHERE pid = $1', [session.backendPid])).length === 0) break
    await session[Symbol.asyncDispose]()
  })
})

function messageOf(error: unknown): string {
  if (error instanceof Failure) return error.message
  throw error
}
