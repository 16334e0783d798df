import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { systemClock } from '../../kernel/clock.ts'
import type { Context } from '../../kernel/context.ts'
import { pathBelow, pathFromBytes } from '../../pgdata/file-path.ts'
import { memoryStorage } from '../../storage/memory.ts'
import { storeFiles, type StoreFilesOptions } from '../../../test/support/page-files.ts'
import { writeCluster } from './write-cluster.ts'

const context: Context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }

/** In the encoding of another century: no UTF-8. */
const folder = pathFromBytes(Buffer.from([0x6d, 0xfc, 0x6c, 0x6c]))
const content = randomBytes(20_000)

const storeFolder: StoreFilesOptions['into'] = async (store) => {
  const lane = store.lane()
  lane.directory(folder, 0o750)
  await lane.begin({ path: `${folder}/file`, mode: 0o640, sizeBytes: content.length })
  await lane.write(content)
  lane.end()
  await lane.begin({ path: `${folder}/empty`, mode: 0o600, sizeBytes: 0 })
  lane.end()
  await lane.finish()
}

it('writes a directory whose name is no UTF-8, and with --delta takes away only what does not belong there', async () => {
  const { repository, backup } = await storeFiles(memoryStorage({ clock: systemClock }), new Map(), { run: 'full', prior: null, context, into: storeFolder })
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-write-'))
  try {
    const request = {
      repository,
      backup,
      directory,
      owner: null,
      threads: 1,
      step: 'restore',
      sizeBytes: content.length,
      tablespaces: [],
      nameOf: (path: string) => path,
    } as const
    await writeCluster({ ...request, mode: 'new' }, context)
    expect(await readdir(directory, { encoding: 'latin1' })).toEqual([folder, 'pg_tblspc'])
    await readFile(pathBelow(directory, `${folder}/file`)).then((found) => expect(found.equals(content)).toBe(true))

    expect(await writeCluster({ ...request, mode: 'delta' }, context)).toBe(0)
    expect((await readdir(pathBelow(directory, folder), { encoding: 'latin1' })).toSorted()).toEqual(['empty', 'file'])
  } finally {
    await rm(directory, { recursive: true })
  }
})
