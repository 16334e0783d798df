import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { platform, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import type { Event } from '../kernel/event.ts'
import { startMark } from '../postgres/process-identity.ts'
import { makeStage, sweepStages } from './stage.ts'

let work: string
let events: Event[]
let context: Context
beforeEach(async () => {
  work = await mkdtemp(join(tmpdir(), 'tidemark-stages-'))
  events = []
  context = { clock: systemClock, emit: (event) => events.push(event), signal: new AbortController().signal }
})
afterEach(() => rm(work, { recursive: true, force: true }))

const owner = async (path: string) => JSON.parse(await readFile(join(path, 'tidemark-stage.json'), 'utf8')) as Record<string, unknown>

/** A stage as a run left it that is not there any more. */
async function abandoned(changes: Record<string, unknown> = {}): Promise<string> {
  const stage = await makeStage(work, '20260101-000000-dead', context)
  const child = spawn('sleep', ['60'])
  const mark = await startMark(child.pid ?? 0)
  child.kill('SIGKILL')
  await once(child, 'close')
  await writeFile(join(stage.path, 'tidemark-stage.json'), JSON.stringify({ ...(await owner(stage.path)), pid: child.pid, mark, ...changes }))
  await mkdir(join(stage.path, 'dump.d'))
  await writeFile(join(stage.path, 'dump.d', 'toc.dat'), 'a whole database')
  return stage.path
}

const eightDaysAgo = () => new Date(systemClock.now().subtract({ hours: 8 * 24 }).epochMilliseconds)

describe('the stage of a run', () => {
  it('is private, names its owner, and is gone with its scope', async () => {
    let path: string
    {
      await using stage = await makeStage(work, '20260101-000000-aaaa', context)
      path = stage.path
      expect((await lstat(path)).mode & 0o777).toBe(0o700)
      expect(await owner(path)).toMatchObject({ format: 'tidemark-stage/1', run: '20260101-000000-aaaa', pid: process.pid })
    }
    expect(await readdir(work)).toEqual([])
  })

  it('is left alone by other runs while its process lives', async () => {
    await using stage = await makeStage(work, '20260101-000000-aaaa', context)
    await utimes(stage.path, eightDaysAgo(), eightDaysAgo())
    await using other = await makeStage(work, '20260101-000000-bbbb', context)
    expect((await readdir(work)).map((name) => join(work, name)).toSorted()).toEqual([stage.path, other.path].toSorted())
  })

  it('is removed by the next run when its process is gone, and that is said', async () => {
    const path = await abandoned()
    await using stage = await makeStage(work, '20260101-000000-bbbb', context)
    expect((await readdir(work)).map((name) => join(work, name))).toEqual([stage.path])
    expect(events).toContainEqual(expect.objectContaining({ type: 'note', message: expect.stringContaining(path) }))
  })

  // Only Linux tells boots and PID namespaces apart; elsewhere nothing is known of either, and these cases cannot be told.
  it.skipIf(platform() !== 'linux').for([
    ['of another container', { place: 'pid:[1]' }],
    ['of before a restart, or of another machine', { mark: '00000000-0000-0000-0000-000000000000/1' }],
  ] as const)('%s is left alone for a week, since nobody can tell whether it lives', async ([, changes]) => {
    const path = await abandoned(changes)
    expect(await sweepStages(work, context)).toEqual([])
    await utimes(path, eightDaysAgo(), eightDaysAgo())
    expect(await sweepStages(work, context)).toEqual([path])
  })

  it.for(['', '{', '{"format":"tidemark-stage/2"}'])('whose owner file holds "%s" is left alone for a week', async (text) => {
    const path = await abandoned()
    await writeFile(join(path, 'tidemark-stage.json'), text)
    expect(await sweepStages(work, context)).toEqual([])
    await utimes(path, eightDaysAgo(), eightDaysAgo())
    expect(await sweepStages(work, context)).toEqual([path])
  })

  it('is taken for nothing else: files, links and folders of others under such names stay', async () => {
    const elsewhere = await mkdtemp(join(tmpdir(), 'tidemark-elsewhere-'))
    await writeFile(join(elsewhere, 'precious'), 'x')
    await symlink(elsewhere, join(work, 'tidemark-20260101-000000-dead-AbCdEf'))
    await writeFile(join(work, 'tidemark-20260101-000000-dead-GhIjKl'), 'x')
    await mkdir(join(work, 'tidemark-drills'))
    for (const name of ['tidemark-drills', 'tidemark-20260101-000000-dead-GhIjKl']) await utimes(join(work, name), eightDaysAgo(), eightDaysAgo())
    expect(await sweepStages(work, context)).toEqual([])
    expect(await readdir(elsewhere)).toEqual(['precious'])
    await rm(elsewhere, { recursive: true })
  })

  it('may lie in a work directory that does not exist yet', async () => {
    expect(await sweepStages(join(work, 'none'), context)).toEqual([])
    await using stage = await makeStage(join(work, 'none', 'deeper'), '20260101-000000-aaaa', context)
    expect(await readdir(stage.path)).toEqual(['tidemark-stage.json'])
  })
})
