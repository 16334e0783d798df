import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm, truncate, unlink, writeFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Context } from '../../src/kernel/context.ts'
import { verifyFile } from '../../src/verify/verify-file.ts'

const recorded = join(import.meta.dirname, '../fixtures/dump')
const context: Context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }
let directory: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tidemark-verify-file-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

const verify = (path: string) => verifyFile(directory, path, async () => ({}), context)

describe('a dump on disk that Tidemark knows nothing of', () => {
  it('is valid as a file and as a directory, with the checksum that sha256sum prints', async () => {
    const file = join(recorded, 'pg15-none.dump')
    expect(await verify(file)).toMatchObject({
      valid: true,
      checksum: `sha256:${createHash('sha256')
        .update(await readFile(file))
        .digest('hex')}`,
    })
    const { stdout } = await promisify(execFile)('sha256sum', (await readdir(join(recorded, 'pg15.d'))).toSorted(), { cwd: join(recorded, 'pg15.d') })
    const checked = await verify(join(recorded, 'pg15.d'))
    expect(checked).toMatchObject({ valid: true, checksum: `sha256:${createHash('sha256').update(stdout).digest('hex')}` })
    expect(checked.tables.length).toBeGreaterThan(0)
  })

  it('is damaged when it is cut off, and when a file of a directory is cut off or missing', async () => {
    const sql = await readFile(join(recorded, 'pg15.sql'))
    await writeFile(join(directory, 'cut.sql.gz'), gzipSync(sql).subarray(0, -20))
    await writeFile(join(directory, 'empty.sql'), '')
    for (const name of ['cut.sql.gz', 'empty.sql']) expect((await verify(name)).valid, name).toBe(false)

    await cp(join(recorded, 'pg15.d'), join(directory, 'dump.d'), { recursive: true })
    const rows = (await readdir(join(directory, 'dump.d'))).find((name) => name.startsWith('33')) ?? ''
    await truncate(join(directory, 'dump.d', rows), 5)
    expect((await verify('dump.d')).valid).toBe(false)
    await unlink(join(directory, 'dump.d', rows))
    expect((await verify('dump.d')).valid).toBe(false)
  })

  it('is no backup when it is not there, and no bug of ours either', async () => {
    await expect(verify('nothing.sql')).rejects.toMatchObject({ code: 'backup-missing' })
    await expect(verify('empty.sql/nothing.sql')).rejects.toMatchObject({ code: 'backup-missing' })
    await writeFile(join(directory, 'picture.bin'), Buffer.from([0, 1, 2, 3]))
    await expect(verify('picture.bin')).rejects.toMatchObject({ code: 'usage-invalid' })
  })
})
