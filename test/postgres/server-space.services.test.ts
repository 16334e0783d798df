import { expect, it } from 'vitest'
import { defaultTarget } from '../../src/postgres/connection-url.ts'
import { openSessionByRoute } from '../../src/postgres/route.ts'
import { findServerSpace } from '../../src/postgres/server-space.ts'
import { startContainer } from '../support/container.ts'
import { describeWith } from '../support/services.ts'
import { withOverrides } from '../support/targets.ts'

describeWith('docker', 'free space of a server in a container', (engine) => {
  it('is that of the file system which the container sees, and not of the directory of that name here', async () => {
    await using container = await startContainer(engine, { server: true })
    const target = withOverrides(defaultTarget('nexo_user'), { database: 'nexo', container: { kind: 'container', name: container.name } })
    const docker = { environment: { PATH: process.env['PATH'], DOCKER_HOST: engine.host } }
    const routed = await openSessionByRoute(target, { applicationName: 'tidemark test', docker })
    await using _session = routed.session
    const directory = await container.sql('SHOW data_directory')
    const [blocks = 0, size = 0] = (await container.inside('stat', '-f', '-c', '%a %S', directory)).trim().split(' ').map(Number)
    const found = await findServerSpace(routed, 'template0')
    expect(found).toMatchObject({ path: directory })
    expect(Math.abs((found.freeBytes ?? 0) - blocks * size)).toBeLessThan(1024 ** 3)
    // Asked on this machine it is not known, although the path may well be there.
    expect(await findServerSpace({ ...routed, route: { ...routed.route, container: null } }, 'template0')).toMatchObject({ freeBytes: null })
  })
})
