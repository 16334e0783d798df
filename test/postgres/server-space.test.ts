import { chown, mkdtemp, rm, stat, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { openSessionByRoute } from '../../src/postgres/route.ts'
import { findServerSpace } from '../../src/postgres/server-space.ts'
import { ownCluster, sharedCluster, type TestCluster } from '../support/cluster.ts'

let cluster: TestCluster
beforeAll(async () => void (cluster = await sharedCluster(15)))

const reach = (at: TestCluster) => openSessionByRoute(at.target, { applicationName: 'tidemark test', database: 'postgres' })

describe('free space of a server', () => {
  test('is that of the file system of its data directory, or of the tablespace where the database lies', async () => {
    const routed = await reach(cluster)
    await using session = routed.session
    const { bavail, bsize } = await statfs(cluster.server.dataDirectory)
    const found = await findServerSpace(routed, 'template0')
    expect(found).toMatchObject({ path: cluster.server.dataDirectory })
    expect(Math.abs((found.freeBytes ?? 0) - bavail * bsize)).toBeLessThan(1024 ** 3)

    const directory = await mkdtemp(join(tmpdir(), 'tidemark-tablespace-'))
    const { uid, gid } = await stat(cluster.server.dataDirectory)
    await chown(directory, uid, gid)
    await session.query(`CREATE TABLESPACE elsewhere LOCATION '${directory}'`)
    await session.query('CREATE DATABASE e_lsewhere TABLESPACE elsewhere')
    expect(await findServerSpace(routed, 'e_lsewhere')).toMatchObject({
      path: directory,
      tablespace: expect.not.toSatisfy((oid) => oid === found.tablespace) as unknown,
    })
    await session.query('DROP DATABASE e_lsewhere')
    await session.query('DROP TABLESPACE elsewhere')
    await rm(directory, { recursive: true })
  })

  test('is not taken from a directory that has its name and belongs to another server, as behind a tunnel or a published port', async () => {
    const other = await ownCluster(15)
    await using _server = other.server
    const here = await reach(cluster)
    const there = await reach(other)
    await using session = here.session
    await using remote = there.session
    // The server says where its files are, and a process of another one serves the session.
    const tunnelled = { route: here.route, session: { ...unbound(session), backendPid: remote.backendPid } }
    expect(await findServerSpace(tunnelled, 'template0')).toEqual({
      freeBytes: null,
      tablespace: 1663,
      why: expect.stringContaining('cannot be told') as string,
    })
    expect(await findServerSpace({ ...tunnelled, session: { ...unbound(session), backendPid: 2 ** 22 + 1 } }, 'template0')).toMatchObject({ freeBytes: null })
  })

  test('is unknown to a role that may not know where the files are', async () => {
    await using admin = await cluster.session()
    await admin.query(`CREATE ROLE space_nobody LOGIN`)
    const routed = await reach(cluster)
    await using session = routed.session
    await session.query('SET ROLE space_nobody')
    expect(await findServerSpace(routed, 'template0')).toMatchObject({ freeBytes: null, why: expect.stringContaining('pg_read_all_settings') as string })
    await session.query('RESET ROLE')
    await admin.query('DROP ROLE space_nobody')
  })
})

/** A session as a plain object, to put another process behind it. */
function unbound(session: Awaited<ReturnType<typeof reach>>['session']) {
  const { target, via, database, user, serverVersionNum } = session
  return {
    target,
    via,
    database,
    user,
    serverVersionNum,
    query: session.query.bind(session),
    copyOut: session.copyOut.bind(session),
    copyIn: session.copyIn.bind(session),
    cancel: session.cancel.bind(session),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}
