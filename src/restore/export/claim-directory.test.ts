import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../kernel/clock.ts'
import { claimDirectory, whyNotEmpty } from './claim-directory.ts'
import { claimFiles } from './claim-files.ts'
import { partialSuffix } from './claimed-place.ts'

const context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }
let room: string
beforeEach(async () => (room = await mkdtemp(join(tmpdir(), 'tidemark-claim-'))))
afterEach(() => rm(room, { recursive: true, force: true }))

describe('a directory that is claimed', () => {
  it('belongs to one of those who want it at the same time, and the other takes nothing away', async () => {
    const directory = join(room, 'a')
    const claims = await Promise.allSettled([claimDirectory(directory, [], context), claimDirectory(directory, [], context)])
    expect(claims.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    expect(claims.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { code: 'target-unsafe' } })
    expect(await readdir(directory)).toEqual(['tidemark-export.partial'])
    expect(await whyNotEmpty(directory)).toContain('under way or was killed')
  })

  it('is gone with what was made for it, when it is given up, and nothing else is', async () => {
    const [directory, beside] = [join(room, 'deep/down/export'), join(room, 'deep/tablespaces/1')]
    await mkdir(join(room, 'empty'))
    {
      await using _claim = await claimDirectory(directory, [beside, join(room, 'empty')], context)
      await mkdir(join(beside, 'PG_15'), { recursive: true })
      await writeFile(join(directory, 'half'), '')
      await writeFile(join(room, 'empty/half'), '')
      await writeFile(Buffer.from(`${directory}/\u00ff`, 'latin1'), '')
      await writeFile(join(room, 'deep/of-others'), '')
    }
    expect(await readdir(room)).toEqual(['deep', 'empty'])
    expect(await readdir(join(room, 'deep'))).toEqual(['of-others'])
    expect(await readdir(join(room, 'empty'))).toEqual([])
  })

  it('keeps what is in it, under its names and without the marker, when it is complete', async () => {
    const directory = join(room, 'a')
    {
      await using claim = await claimDirectory(directory, [], context)
      await writeFile(join(directory, `x${partialSuffix}`), 'content')
      await claim.complete([{ from: `x${partialSuffix}`, to: 'x' }])
    }
    expect(await readdir(directory)).toEqual(['x'])
  })

  it('is not taken where something is', async () => {
    await writeFile(join(room, 'mine'), '')
    expect(await whyNotEmpty(room)).toContain('not empty')
    expect(await whyNotEmpty(join(room, 'mine'))).toContain('no directory')
    expect(await whyNotEmpty(join(room, 'new'))).toBeNull()
  })
})

describe('files that are claimed', () => {
  it('overwrite nothing, also what came meanwhile, and leave only what is of others', async () => {
    await writeFile(join(room, 'mine'), 'precious')
    const names = [
      { name: 'a', isFolder: false },
      { name: 'd', isFolder: true },
    ]
    await expect(
      (async () => {
        await using claim = await claimFiles(room, names, context)
        await expect(claimFiles(room, names, context)).rejects.toMatchObject({ code: 'target-unsafe' })
        expect(await readdir(room)).toEqual([`a${partialSuffix}`, `d${partialSuffix}`, 'mine'])
        await writeFile(join(room, 'a'), 'of another')
        await claim.complete(names.map(({ name }) => ({ from: `${name}${partialSuffix}`, to: name })))
      })(),
    ).rejects.toMatchObject({ code: 'target-unsafe' })
    expect(await readdir(room)).toEqual(['a', 'mine'])
  })
})
