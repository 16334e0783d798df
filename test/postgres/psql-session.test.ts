import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../../src/kernel/failure.ts'
import { openContainerSession } from '../../src/postgres/container-session.ts'
import type { ContainerAccess } from '../../src/postgres/container.ts'
import type { Session } from '../../src/postgres/session.ts'
import { sharedCluster, type ScratchDatabase } from '../support/cluster.ts'

/** The psql of a container may be of any major, and their reports differ. Here a stand-in for `docker exec` starts one of this host on a real server. */
const programs = [
  ...[13, 14, 15, 16, 17, 18].map((major) => ({ major, psql: `/usr/lib/postgresql/${major}/bin/psql` })),
  ...[17, 18].map((major) => ({ major, psql: `/var/cache/tidemark-test/clients/${major}/bin/psql` })),
].filter(({ psql }) => existsSync(psql))

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    () => new Error('it succeeded'),
    (thrown: unknown) => thrown,
  )
  if (error instanceof Failure) return error
  throw error
}

it('at least one psql is here to be tested', () => expect(programs).not.toEqual([]))

describe.each(programs)('a session through psql $major ($psql)', ({ psql }) => {
  let directory: string
  let scratch: ScratchDatabase
  let open: () => Promise<Session>

  beforeAll(async () => {
    const cluster = await sharedCluster(18)
    scratch = await cluster.createScratchDatabase()
    directory = await mkdtemp(join(tmpdir(), 'tidemark-psql-'))
    const docker = join(directory, 'docker')
    await writeFile(
      docker,
      `#!/bin/bash\nshift\nwhile :; do case $1 in -i) shift;; -e) [[ $2 == *=* ]] && export "$2"; shift 2;; *) break;; esac; done\nshift 2\nexport PGHOST=${cluster.server.socketDirectory} PGPORT=${cluster.server.port}\nexec ${psql} "$@"\n`,
    )
    await chmod(docker, 0o755)
    const access: ContainerAccess = {
      container: { kind: 'container', name: 'stand-in' },
      docker: { program: docker, environment: { PATH: process.env['PATH'] } },
      password: 'not-needed',
    }
    open = () => openContainerSession(scratch.target, access, { applicationName: 'tidemark test', settings: { TimeZone: 'UTC', search_path: '' } })
  })
  afterAll(async () => {
    await scratch[Symbol.asyncDispose]()
    await rm(directory, { recursive: true })
  })

  it('gives typed values and takes parameters', async () => {
    await using session = await open()
    const sql = `SELECT true AS yes, 1::int2 AS i, 9007199254740993 AS big, 1.10 AS num, NULL AS nothing, '' AS empty, E'a,"\\n\\\\:x' AS odd, ARRAY[1,NULL]::int[] AS ints, '[1]'::json AS j, $1::text AS p, $2::oid AS o`
    expect(await session.query(sql, [`'; \\q :x`, 4_000_000_000])).toEqual([
      {
        yes: true,
        i: 1,
        big: '9007199254740993',
        num: '1.10',
        nothing: null,
        empty: '',
        odd: 'a,"\n\\:x',
        ints: [1, null],
        j: [1],
        p: `'; \\q :x`,
        o: 4_000_000_000,
      },
    ])
  })

  it('reports each error, and none that was earlier', async () => {
    await using session = await open()
    expect((await failureOf(session.query('SELECT nonsense'))).details['sqlState']).toBe('42703')
    expect(await session.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
    expect((await failureOf(session.query('CREATE TABLE'))).details['sqlState']).toBe('42601')
    expect(await session.query('SET work_mem = 1024')).toEqual([])
    expect((await failureOf(session.query('SELECT 1 / $1::int', [0]))).message).toContain('division by zero')
  })

  it('never takes a COPY that failed half-way for a whole one, in a transaction or not', async () => {
    await using session = await open()
    const copied = async (rows: number) => {
      let bytes = 0
      for await (const chunk of session.copyOut(`COPY (SELECT 1 / (100000 - i) FROM pg_catalog.generate_series(1, ${rows}) i) TO STDOUT`))
        bytes += chunk.byteLength
      return bytes
    }
    expect(await copied(99_999)).toBe(199_998)
    expect((await failureOf(copied(200_000))).message).toContain('division by zero')
    expect((await failureOf(session.query('SELECT nonsense'))).details['sqlState']).toBe('42703')
    expect((await failureOf(copied(100_000))).message).toContain('division by zero')
    await session.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    expect(await copied(10)).toBe(20)
    expect((await failureOf(copied(100_000))).message).toContain('division by zero')
    await session.query('ROLLBACK')
    expect(await copied(10)).toBe(20)
  })

  it('says that the session broke when the server ends it', async () => {
    await using session = await open()
    await using killer = await open()
    const sleeping = failureOf(session.query('SELECT pg_catalog.pg_sleep(60)'))
    for (;;) if ((await killer.query(`SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND state = 'active'`, [session.backendPid])).length > 0) break
    await killer.query('SELECT pg_catalog.pg_terminate_backend($1)', [session.backendPid])
    expect((await sleeping).code).toBe('connection-lost')
    expect((await failureOf(session.query('SELECT 1'))).code).toBe('connection-lost')
  })
})
