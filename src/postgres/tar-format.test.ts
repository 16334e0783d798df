import { execFile, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BrokenTar } from '../stream/tar-header.ts'
import { isPlainName, parsePlainHeader, readTar, tarHeader, writeTar } from './tar-format.ts'

const run = promisify(execFile)
let directory: string
beforeEach(async () => (directory = await mkdtemp(join(tmpdir(), 'tidemark-tar-'))))
afterEach(() => rm(directory, { recursive: true, force: true }))

const sizes = [0, 1, 511, 512, 513, 1024, 70_000]
const content = (size: number) => Buffer.from(Array.from({ length: size }, (_, index) => (index * 7 + size) % 251))
const filesOf = (bodies: readonly Buffer[]) => bodies.map((body, index) => ({ name: `${index}.dat`, sizeBytes: body.length, body: Readable.from([body]) }))

async function read(source: AsyncIterable<Uint8Array>): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>()
  await readTar(source, async ({ name, body }) => void found.set(name, await buffer(body)))
  return found
}

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += size) yield bytes.subarray(offset, offset + size)
}

describe('tar', () => {
  it('as the tar of this machine writes it is read, byte for byte', async () => {
    await mkdir(join(directory, 'dump'))
    for (const size of sizes) await writeFile(join(directory, 'dump', `${size}.dat`), content(size))
    const tar = spawn('tar', ['-cf', '-', '-C', join(directory, 'dump'), '.'], { stdio: ['ignore', 'pipe', 'inherit'] })
    const found = await read(tar.stdout)
    expect([...found.keys()].toSorted()).toEqual(sizes.map((size) => `${size}.dat`).toSorted())
    for (const size of sizes) expect(found.get(`${size}.dat`)?.equals(content(size))).toBe(true)
  })

  it('as we write it is unpacked by the tar of this machine, byte for byte', async () => {
    const tar = spawn('tar', ['-xof', '-', '-C', directory], { stdio: ['pipe', 'ignore', 'inherit'] })
    const ended = new Promise((resolve) => tar.on('close', resolve))
    await pipeline(Readable.from(writeTar(filesOf(sizes.map(content))), { objectMode: false }), tar.stdin)
    expect(await ended).toBe(0)
    for (const [index, size] of sizes.entries()) expect((await readFile(join(directory, `${index}.dat`))).equals(content(size))).toBe(true)
  })

  it('tells sizes above 8 GiB to the tar of this machine, and reads them', async () => {
    for (const sizeBytes of [8 * 2 ** 30 - 1, 8 * 2 ** 30, 5 * 2 ** 40]) {
      expect(parsePlainHeader(tarHeader('1.dat', sizeBytes))).toEqual({ name: '1.dat', sizeBytes, kind: 'file' })
      await writeFile(join(directory, 'huge.tar'), tarHeader('1.dat', sizeBytes))
      const listed = await run('tar', ['-tvf', join(directory, 'huge.tar')]).catch((error: { stdout: string }) => error)
      expect(listed.stdout).toContain(` ${sizeBytes} `)
    }
  })

  it('that is cut anywhere is noticed, also between two files, where tar itself says nothing', async () => {
    const whole = await buffer(writeTar(filesOf([content(513), content(512), content(0)])))
    expect((await read(inChunks(whole, 100))).size).toBe(3)
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: whole.length - 1 }), fc.integer({ min: 1, max: 2000 }), async (length, chunk) => {
        await expect(read(inChunks(whole.subarray(0, length), chunk))).rejects.toThrow(BrokenTar)
      }),
      {
        numRuns: 200,
        examples: [
          [512 + 1024, 512],
          [0, 1],
        ],
      },
    )
    await writeFile(join(directory, 'cut.tar'), whole.subarray(0, 512 + 1024))
    expect((await run('tar', ['-tf', join(directory, 'cut.tar')])).stdout).toBe('0.dat\n')
  })

  it('with a damaged header, a link, a folder or a way out is refused', async () => {
    const good = tarHeader('toc.dat', 3)
    const changed = (change: (header: Buffer) => void) => {
      const header = Buffer.from(good)
      change(header)
      const sum = header.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 0x20 : byte), 0)
      header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
      return header
    }
    expect(parsePlainHeader(changed(() => undefined)).name).toBe('toc.dat')
    const damaged = Buffer.from(good)
    damaged[125] = 0x31
    expect(() => parsePlainHeader(damaged)).toThrow('checksum')
    expect(() => parsePlainHeader(changed((header) => header.write('2', 156)))).toThrow('no plain file')
    expect(() => parsePlainHeader(changed((header) => header.write('../../etc/passwd', 0)))).toThrow('folder')
    expect(() => parsePlainHeader(changed((header) => header.write('-rf', 0)))).toThrow('strange name')
    expect(() => parsePlainHeader(changed((header) => header.write('/etc', 345)))).toThrow('folder')
    expect(() => parsePlainHeader(changed((header) => header.write('999', 124)))).toThrow('size')
    for (const name of ['..', '.', '-rf', 'a/b', 'a b', 'a\nb', '']) expect([name, isPlainName(name)]).toEqual([name, false])
  })

  it('is not written from a file that shrinks or grows meanwhile', async () => {
    for (const sizeBytes of [4, 6]) {
      const changing = [{ name: '1.dat', sizeBytes, body: Readable.from([Buffer.from('12345')]) }]
      await expect(buffer(writeTar(changing))).rejects.toMatchObject({ code: 'integrity' })
    }
  })
})
