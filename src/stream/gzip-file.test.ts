import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { compressGzipFile } from './gzip-file.ts'

const run = promisify(execFile)
const packed = (content: Uint8Array, workers = 3): Promise<Buffer> =>
  buffer(Readable.from(compressGzipFile(Readable.from([content], { objectMode: false }), { level: 1, workers }), { objectMode: false }))

describe('a gzip file of one member', () => {
  it.each([0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_000])('holds %i bytes, as the gzip of this machine says', async (sizeBytes) => {
    const content = Buffer.from(Array.from({ length: sizeBytes }, (_, index) => (index * 31 + (index >> 9)) % 251))
    const bytes = await packed(content)
    expect(gunzipSync(bytes).equals(content)).toBe(true)
    const directory = await mkdtemp(join(tmpdir(), 'tidemark-gzip-'))
    try {
      await writeFile(join(directory, 'a.gz'), bytes)
      await run('gzip', ['-t', join(directory, 'a.gz')])
      await run('gzip', ['-d', join(directory, 'a.gz')])
      expect((await readFile(join(directory, 'a'))).equals(content)).toBe(true)
      // The check at the end is of the whole content.
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 8) ^ 1, bytes.length - 8)
      await writeFile(join(directory, 'b.gz'), bytes)
      await expect(run('gzip', ['-t', join(directory, 'b.gz')])).rejects.toThrow('crc error')
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  })

  it('has one beginning only, however much it holds', async () => {
    const bytes = await packed(Buffer.alloc(3_000_000))
    expect(bytes.indexOf(Buffer.from([0x1f, 0x8b, 8]), 1)).toBe(-1)
  })
})
