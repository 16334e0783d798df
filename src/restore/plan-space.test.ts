import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { judgeSpace, planStagingSpace, spaceProblems } from './plan-space.ts'
import type { PlannedSpace } from './restore-plan.ts'
import type { RestoreRequest } from './restore-request.ts'

const space = (neededBytes: number | null, freeBytes: number | null, freedBytes: number | null = 0): PlannedSpace => ({
  neededBytes,
  freeBytes,
  freedBytes,
  path: '/data',
  unknown: null,
})

let directory: string
beforeAll(async () => void (directory = await mkdtemp(join(tmpdir(), 'tidemark-space-'))))
afterAll(() => rm(directory, { recursive: true }))

test('nothing is judged of what is not known, and only what is certainly too little is missing', () => {
  for (const unknown of [space(null, 1), space(10, null), space(10, 1, null)]) expect(judgeSpace(unknown)).toEqual({ kind: 'unknown' })
  expect(judgeSpace(space(100, 99))).toEqual({ kind: 'missing', missingBytes: 1 })
  expect(judgeSpace(space(100, 60, 39))).toEqual({ kind: 'missing', missingBytes: 1 })
  expect(judgeSpace(space(100, 100))).toEqual({ kind: 'tight' })
  expect(judgeSpace(space(100, 109))).toEqual({ kind: 'tight' })
  expect(judgeSpace(space(100, 60, 50))).toEqual({ kind: 'enough' })
})

describe('too little room', () => {
  const plenty = space(1, 1000)
  const existing = { name: 'shop', sizeBytes: 50 }

  test('on the server is a refusal; overruled it is still said', () => {
    const plan = { serverSpace: space(100, 60), stagingSpace: plenty, action: 'swap', existing } as const
    expect(spaceProblems(plan, false)).toEqual({ refusals: [expect.stringContaining('--replace=drop')], warnings: [] })
    expect(spaceProblems(plan, true)).toEqual({ refusals: [], warnings: [expect.stringContaining('no room for both')] })
    expect(spaceProblems({ ...plan, existing: { name: 'shop', sizeBytes: 39 } }, false).refusals[0]).toContain('would not be enough')
    expect(spaceProblems({ ...plan, existing: { name: 'shop', sizeBytes: null } }, false).refusals[0]).not.toContain('--replace=drop')
    expect(spaceProblems({ ...plan, action: 'create', existing: null }, false).refusals[0]).toContain('no room for the restored database')
  })

  test('in the work directory cannot be overruled, for how large the dump is is known', () => {
    const plan = { serverSpace: plenty, stagingSpace: space(100, 60), action: 'create', existing: null } as const
    expect(spaceProblems(plan, true).refusals).toEqual([expect.stringContaining('TIDEMARK_WORK_DIR')])
  })

  test('that is only tight is a warning', () => {
    expect(spaceProblems({ serverSpace: space(100, 105), stagingSpace: plenty, action: 'create', existing: null }, false)).toEqual({
      refusals: [],
      warnings: [expect.stringContaining('tight')],
    })
  })
})

describe('what a staged file needs', () => {
  const needs = async (file: string, roleMap: RestoreRequest['roleMap'] = new Map()) =>
    planStagingSpace({ manifest: null, file, roleMap, workDirectory: join(directory, 'not', 'made', 'yet') } as unknown as RestoreRequest)
  const spare = 64 * 1024 * 1024

  test('is its size where it is not packed, twice that where roles are written into it, and unknown where it is packed', async () => {
    const plain = join(directory, 'plain.dump')
    await writeFile(plain, `PGDMP${'x'.repeat(995)}`)
    expect(await needs(plain)).toMatchObject({ neededBytes: 1000 + spare, unknown: null })
    expect(await needs(plain, new Map([['a', 'b']]))).toMatchObject({ neededBytes: 2000 + spare })
    const packed = join(directory, 'packed.dump')
    await writeFile(packed, Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]))
    expect(await needs(packed)).toMatchObject({
      neededBytes: null,
      unknown: expect.stringContaining('unpacked') as string,
      freeBytes: expect.any(Number) as number,
    })
  })

  test('of a file of holes, larger than any disk, is told without reading it', async () => {
    const huge = join(directory, 'huge.dump')
    await using handle = await open(huge, 'w')
    await handle.write('PGDMP')
    await handle.truncate(2 ** 43)
    expect(judgeSpace(await needs(huge)).kind).toBe('missing')
  })
})
