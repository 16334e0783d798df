import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Context } from '../../src/kernel/context.ts'
import type { Event } from '../../src/kernel/event.ts'
import type { ContainerAccess } from '../../src/postgres/container.ts'
import { bringFiles, listContainerFiles, sendFiles } from '../../src/postgres/container-files.ts'
import { makeContainerStage, requireContainerSpace, sweepContainerStages } from '../../src/postgres/container-stage.ts'
import { defaultTarget } from '../../src/postgres/connection-url.ts'
import { lyingDocker, startContainer, type TestContainer } from '../support/container.ts'
import { describeWith } from '../support/services.ts'

const signal = new AbortController().signal
const target = defaultTarget('nexo_user')
const sizes = [0, 1, 511, 512, 513, 65_536, 3_000_001]

describeWith('docker', 'files that pass through docker exec', (engine) => {
  let container: TestContainer
  let directory: string
  const accessBy = (program?: string, name = container.name): ContainerAccess => ({
    container: { kind: 'container', name },
    docker: { environment: { PATH: process.env['PATH'], DOCKER_HOST: engine.host }, ...(program === undefined ? {} : { program }) },
    password: 'not-needed',
  })
  /** Files of random content here, and an empty directory there. */
  const prepare = async () => {
    const here = await mkdtemp(join(directory, 'sent-'))
    for (const size of sizes) await writeFile(join(here, `${size}.dat`), randomBytes(size))
    const there = (await container.inside('mktemp', '-d')).trim()
    return { here, there, files: sizes.map((size) => ({ name: `${size}.dat`, path: join(here, `${size}.dat`) })) }
  }

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tidemark-container-'))
    container = await startContainer(engine, { server: false, flags: ['--tmpfs', '/small:size=4m'] })
  })
  afterAll(async () => {
    await container[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  })

  it('arrive byte for byte on the way in and on the way out, however many', async () => {
    const { here, there, files } = await prepare()
    const many = Array.from({ length: 3000 }, (_, index) => ({ name: `blob_${index}.dat`, content: `object ${index}` }))
    await sendFiles(accessBy(), [...files, ...many], there, { signal })
    const listed = await listContainerFiles(accessBy(), there)
    expect(listed).toHaveLength(sizes.length + many.length)
    const back = await mkdtemp(join(directory, 'back-'))
    await bringFiles(accessBy(), { directory: there, files: listed }, back, { signal })
    expect(await readdir(back)).toHaveLength(listed.length)
    for (const { name, path } of files) expect((await readFile(join(back, name))).equals(await readFile(path))).toBe(true)
    expect(await readFile(join(back, 'blob_2999.dat'), 'utf8')).toBe('object 2999')
    expect(await readdir(here)).toHaveLength(sizes.length)
    const owners = await container.inside('find', there, '-type', 'f', '!', '-user', '0')
    expect(owners).toBe('')
  })

  it('are never taken for whole when the stream out is cut, docker reports success all the same, or other bytes come', async () => {
    const { there, files } = await prepare()
    await sendFiles(accessBy(), files, there, { signal })
    const listed = await listContainerFiles(accessBy(), there)
    const lies = {
      'inside a file': '"$real" "$@" | head -c 1000000',
      'before the end marks': '"$real" "$@" | head -c -10240',
      'to nothing': 'true',
      'to other content': '"$real" "$@" | tr "\\\\101" "\\\\102"',
      'by a failing tar': '"$real" "$@"; exit 2',
    }
    for (const [how, instead] of Object.entries(lies)) {
      await using docker = await lyingDocker([{ when: '*" tar -cf "*', instead }])
      const back = await mkdtemp(join(directory, 'back-'))
      const failing = bringFiles(accessBy(docker.program), { directory: there, files: listed }, back, { signal })
      await expect(failing, how).rejects.toMatchObject({ code: 'tool-failed', message: expect.stringContaining('could not be passed through container') })
    }
  })

  it('are never taken for whole when the list of them is cut', async () => {
    const { there, files } = await prepare()
    await sendFiles(accessBy(), files, there, { signal })
    for (const [when, instead] of [
      ['*" stat "*', '"$real" "$@" | head -n -1'],
      ['*" stat "*', '"$real" "$@" | head -c -1'],
      ['*" stat "*', 'true'],
      ['*sha256sum*', '"$real" "$@" | head -n -1'],
      ['*sha256sum*', 'true'],
    ] as const) {
      await using docker = await lyingDocker([{ when, instead }])
      await expect(listContainerFiles(accessBy(docker.program), there), `${when} ${instead}`).rejects.toMatchObject({ code: 'tool-failed' })
    }
  })

  it('are never taken for whole when the stream in is cut, even where tar unpacks what came without an error', async () => {
    for (const [how, instead] of Object.entries({
      // The first file is empty, so this is a border between two files, at which tar sees nothing wrong.
      'between two files': 'head -c 512 | "$real" "$@"',
      'inside a file': 'head -c 1000000 | "$real" "$@"',
      'to nothing': '"$real" "$@" </dev/null; exit 0',
      'to other content': 'tr "\\\\101" "\\\\102" | "$real" "$@"',
    })) {
      const { there, files } = await prepare()
      await using docker = await lyingDocker([{ when: '*" tar -xof "*', instead }])
      await expect(sendFiles(accessBy(docker.program), files, there, { signal }), how).rejects.toMatchObject({ code: 'tool-failed' })
    }
  })

  it('are refused with the way out where the directory there becomes full', async () => {
    const files = [{ name: 'big.dat', content: 'x'.repeat(6_000_000) }]
    await expect(sendFiles(accessBy(), files, '/small', { signal })).rejects.toMatchObject({
      code: 'space-low',
      hints: expect.arrayContaining([expect.stringContaining('TIDEMARK_CONTAINER_WORK_DIR')]),
    })
  })

  it('end with the reason when the run is cancelled meanwhile', async () => {
    const { files, there } = await prepare()
    await sendFiles(accessBy(), files, there, { signal })
    const stop = new AbortController()
    const listed = await listContainerFiles(accessBy(), there)
    const back = await mkdtemp(join(directory, 'back-'))
    const reason = new Error('stopped by the test')
    const bringing = bringFiles(accessBy(), { directory: there, files: listed }, back, { signal: stop.signal, onBytes: () => stop.abort(reason) })
    await expect(bringing).rejects.toBe(reason)
  })
})

describeWith('docker', 'the temporary directory in a container', (engine) => {
  let container: TestContainer
  const events: Event[] = []
  const context: Context = { clock: systemClock, emit: (event) => events.push(event), signal }
  const accessTo = (docker: object = {}, name = container.name): ContainerAccess => ({
    container: { kind: 'container', name },
    docker: { environment: { PATH: process.env['PATH'], DOCKER_HOST: engine.host }, ...docker },
    password: 'not-needed',
  })
  const owner = (run: string) => ({ run, target })
  const there = async () => (await container.inside('find', '/tmp', '-maxdepth', '1', '-name', 'tidemark-*')).split('\n').filter((path) => path !== '')

  beforeAll(async () => {
    container = await startContainer(engine, { server: false, flags: ['--tmpfs', '/small:size=4m'] })
  })
  afterAll(() => container[Symbol.asyncDispose]())

  it('can be entered by its owner only, and is gone with its scope', async () => {
    {
      await using stage = await makeContainerStage(accessTo(), owner('20260101-000000-aaaa'), context)
      expect(await container.inside('stat', '-c', '%a', stage.path)).toBe('700\n')
      expect(await there()).toEqual([stage.path])
      await container.inside('touch', `${stage.path}/toc.dat`)
    }
    expect(await there()).toEqual([])
  })

  it('is removed after a kill by the next run, which says so; those of living runs and of other machines stay', async () => {
    let name: string
    {
      await using stage = await makeContainerStage(accessTo(), owner('20260101-000000-bbbb'), context)
      name = stage.path
    }
    const [, place = '', mark = ''] = /-bbbb-([0-9a-f]{8})-\d+-([0-9a-f]{8})-/.exec(name) ?? []
    const path = (run: string, whose: string) => `/tmp/tidemark-20260101-000000-${run}-${whose}-abcdef`
    const dead = [path('dead', `${place}-4194305-${mark}`), path('reus', `${place}-${process.pid}-00000000`)]
    const foreign = path('othr', '00000000-1-00000000')
    const old = path('olds', '00000000-1-00000000')
    const others = ['/tmp/tidemark-20260101-000000-dead', '/tmp/tidemark-notes']
    await container.inside('mkdir', ...dead, foreign, old, ...others)
    await container.inside('touch', `${dead[0]}/toc.dat`)
    await container.inside('touch', '-d', '8 days ago', old)
    await using living = await makeContainerStage(accessTo(), owner('20260101-000000-cccc'), context)
    expect((await there()).toSorted()).toEqual([foreign, living.path, ...others].toSorted())
    const said = events.flatMap((event) => (event.type === 'note' && event.message.startsWith('removed ') ? [event.message] : []))
    expect(said.toSorted()).toEqual(
      [...dead, old].toSorted().map((one) => `removed ${one} in container "${container.name}", which a run that was killed had left`),
    )
    await sweepContainerStages(accessTo(), target, context)
    expect(await there()).toContain(living.path)
    await container.inside('rm', '-rf', foreign, ...others)
  })

  it('is refused where there is too little room, and says what to do', async () => {
    await using stage = await makeContainerStage(accessTo({ workDirectory: '/small/' }), owner('20260101-000000-dddd'), context)
    expect(stage.path).toMatch(/^\/small\/tidemark-/)
    const need = (bytes: number) => requireContainerSpace(accessTo({ workDirectory: '/small' }), stage, { bytes, what: 'this needs' }, context)
    await need(3 * 1024 * 1024)
    await expect(need(5 * 1024 * 1024)).rejects.toMatchObject({
      code: 'space-low',
      message: `/small in container "${container.name}" has 4 MiB free; this needs 5 MiB`,
      hints: expect.arrayContaining([expect.stringContaining('--format custom'), `docker exec ${container.name} df -h`]),
    })
  })

  it('is refused with the next command where nothing can be written, or the path is none', async () => {
    await using readOnly = await startContainer(engine, { server: false, flags: ['--read-only'] })
    await expect(makeContainerStage(accessTo({}, readOnly.name), owner('20260101-000000-eeee'), context)).rejects.toMatchObject({
      code: 'config-invalid',
      message: expect.stringContaining('Read-only file system'),
      hints: expect.arrayContaining([expect.stringContaining('TIDEMARK_CONTAINER_WORK_DIR=/'), `docker exec ${readOnly.name} ls -ld /tmp`]),
    })
    await expect(makeContainerStage(accessTo({ workDirectory: 'tmp' }), owner('20260101-000000-ffff'), context)).rejects.toMatchObject({
      code: 'config-invalid',
    })
  })

  it('that cannot be removed is said, and does not fail the run', async () => {
    await using docker = await lyingDocker([{ when: '*" rm -rf "*', instead: 'echo "rm: cannot remove it" >&2; exit 1' }])
    events.length = 0
    {
      await using _stage = await makeContainerStage(accessTo({ program: docker.program }), owner('20260101-000000-1111'), context)
    }
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'warning', code: 'clean-up-failed', message: expect.stringContaining('rm: cannot remove it') }),
    )
  })
})
