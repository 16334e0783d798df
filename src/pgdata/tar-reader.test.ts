import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../kernel/failure.ts'
import { type BaseTarOptions, createBaseTarReader, type TarEntry } from './tar-reader.ts'

interface Change {
  readonly name?: string | Buffer
  readonly type?: string
  readonly size?: string | number
  readonly link?: string | Buffer
  readonly prefix?: string
  readonly magic?: string
  readonly mode?: string
}

/** A header as PostgreSQL writes it, unless told otherwise. */
function header({ name = 'base/5/16384', type = '0', size = 0, link = '', prefix = '', magic = 'ustar\x0000', mode = '0000600 ' }: Change): Buffer {
  const block = Buffer.alloc(512)
  const put = (value: string | Buffer, offset: number) => block.set(Buffer.from(value as string, 'latin1'), offset)
  put(name, 0)
  put(mode, 100)
  put(typeof size === 'number' ? `${size.toString(8).padStart(11, '0')} ` : size, 124)
  put(type, 156)
  put(link, 157)
  put(magic, 257)
  put(prefix, 345)
  return withChecksum(block)
}

function withChecksum(block: Buffer): Buffer {
  const sum = block.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 0x20 : byte), 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

function member(name: string, content: Buffer): Buffer {
  return Buffer.concat([header({ name, size: content.length }), content, Buffer.alloc((512 - (content.length % 512)) % 512)])
}

const ending = Buffer.alloc(1024)
type Seen = TarEntry & { readonly content: string; readonly pieces: number }

interface Reading extends BaseTarOptions {
  readonly sizes?: readonly number[]
  readonly slow?: boolean
}

/** Reads `bytes` in chunks of these sizes; with `slow`, the sink asks to wait at every second call. */
async function read(bytes: Buffer, { sizes = [bytes.length || 1], slow = false, endBlocks = 'required' }: Reading = {}): Promise<Seen[]> {
  const seen: Seen[] = []
  let open: { readonly entry: TarEntry; readonly pieces: Buffer[] } | undefined
  let calls = 0
  const later = () => (slow && (calls += 1) % 2 === 0 ? Promise.resolve() : undefined)
  const reader = createBaseTarReader(
    {
      entry(entry) {
        expect(open).toBeUndefined()
        open = { entry, pieces: [] }
      },
      body(piece) {
        expect(piece.length).toBeGreaterThan(0)
        open?.pieces.push(Buffer.from(piece))
        return later()
      },
      end() {
        if (open === undefined) throw new Error('end without entry')
        seen.push({ ...open.entry, content: Buffer.concat(open.pieces).toString('latin1'), pieces: open.pieces.length })
        open = undefined
        return later()
      },
    },
    { endBlocks },
  )
  let turn = 0
  for (let offset = 0; offset < bytes.length;) {
    const size = sizes[turn++ % sizes.length] ?? 1
    await reader.write(bytes.subarray(offset, offset + size))
    offset += size
  }
  reader.finish()
  return seen
}

const refused = async (bytes: Buffer): Promise<string> => {
  const error = await read(Buffer.concat([bytes, ending])).then(
    (seen) => new Error(`read: ${JSON.stringify(seen)}`),
    (thrown: unknown) => thrown,
  )
  if (error instanceof Failure && error.code === 'integrity') return error.message
  throw error
}

describe('an archive of BASE_BACKUP', () => {
  const content = (length: number) => Buffer.from(Array.from({ length }, (_, index) => (index * 31 + length) % 253))
  const whole = Buffer.concat([
    member('backup_label', content(225)),
    header({ name: 'global/', type: '5', mode: '0000700 ' }),
    member('global/1262', content(8192)),
    member('empty', content(0)),
    header({ name: 'pg_tblspc/16500/', type: '2', link: '/srv/space x' }),
    member('./base/5/16384', content(513)),
    ending,
  ])

  it('is told entry by entry: kind, mode, size and every byte', async () => {
    const seen = await read(whole)
    expect(seen.map(({ path, kind, mode, sizeBytes, linkTarget, content: { length } }) => ({ path, kind, mode, sizeBytes, linkTarget, length }))).toEqual([
      { path: 'backup_label', kind: 'file', mode: 0o600, sizeBytes: 225, linkTarget: null, length: 225 },
      { path: 'global', kind: 'directory', mode: 0o700, sizeBytes: 0, linkTarget: null, length: 0 },
      { path: 'global/1262', kind: 'file', mode: 0o600, sizeBytes: 8192, linkTarget: null, length: 8192 },
      { path: 'empty', kind: 'file', mode: 0o600, sizeBytes: 0, linkTarget: null, length: 0 },
      { path: 'pg_tblspc/16500', kind: 'symlink', mode: 0o600, sizeBytes: 0, linkTarget: '/srv/space x', length: 0 },
      { path: 'base/5/16384', kind: 'file', mode: 0o600, sizeBytes: 513, linkTarget: null, length: 513 },
    ])
    expect(seen[2]?.content).toBe(content(8192).toString('latin1'))
  })

  it('is the same however the stream is cut and whether the sink waits', async () => {
    const plain = (seen: readonly Seen[]) => seen.map((each) => ({ ...each, pieces: 0 }))
    const expected = plain(await read(whole))
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 5 }), fc.boolean(), async (sizes, slow) => {
        expect(plain(await read(whole, { sizes, slow }))).toEqual(expected)
      }),
      { numRuns: 100, examples: [[[1], true]] },
    )
  })

  it('hands out slices of what was written, without a promise where the sink wants none', () => {
    const bodies: Buffer[] = []
    const reader = createBaseTarReader({ entry: () => undefined, body: (bytes) => void bodies.push(bytes), end: () => undefined })
    expect(reader.write(whole)).toBeUndefined()
    expect(bodies.every((body) => body.buffer === whole.buffer)).toBe(true)
  })

  it('holds the stream up while the sink is busy, and takes nothing meanwhile', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const reader = createBaseTarReader({ entry: () => undefined, body: () => promise, end: () => undefined })
    const written = reader.write(whole)
    expect(written).toBeInstanceOf(Promise)
    expect(() => reader.write(whole)).toThrow('before the sink')
    expect(() => reader.finish()).toThrow('before the sink')
    resolve()
    await written
    reader.finish()
  })

  it('passes on what the sink throws', async () => {
    const failing = (when: 'entry' | 'body' | 'end') => {
      const stop = (name: string) => {
        if (name === when) throw new Error(`${name} failed`)
      }
      return createBaseTarReader({ entry: () => stop('entry'), body: () => stop('body'), end: async () => stop('end') })
    }
    expect(() => failing('entry').write(whole)).toThrow('entry failed')
    expect(() => failing('body').write(whole)).toThrow('body failed')
    await expect(failing('end').write(whole)).rejects.toThrow('end failed')
  })

  it('that is cut anywhere is noticed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), async (length) => {
        await expect(read(whole.subarray(0, length), { sizes: [777] })).rejects.toMatchObject({ code: 'integrity' })
      }),
      { numRuns: 200, examples: [[0], [whole.length - 512], [whole.length - 1024], [1024]] },
    )
  })

  it('may lack its last two blocks only where the server is known to leave them out', async () => {
    const open = whole.subarray(0, -1024)
    await expect(read(open)).rejects.toThrow('end is missing')
    expect(await read(open, { endBlocks: 'optional' })).toHaveLength(6)
    expect(await read(whole, { endBlocks: 'optional' })).toHaveLength(6)
    await expect(read(whole.subarray(0, -512), { endBlocks: 'optional' })).rejects.toThrow('end is missing')
    await expect(read(open.subarray(0, -1), { endBlocks: 'optional' })).rejects.toThrow('middle of an entry')
  })

  it('has nothing but zeros behind its end', async () => {
    expect(await read(Buffer.concat([whole, Buffer.alloc(9 * 512)]))).toHaveLength(6)
    await expect(read(Buffer.concat([whole, member('more', content(1)), ending]))).rejects.toThrow('after its end')
  })

  it('may hold files of any size and long paths', async () => {
    const huge = [8 * 2 ** 30 - 1, 8 * 2 ** 30, 5 * 2 ** 40]
    for (const size of huge) {
      const binary = Buffer.alloc(12)
      binary[0] = 0x80
      binary.writeBigUInt64BE(BigInt(size), 4)
      const entries: TarEntry[] = []
      const reader = createBaseTarReader({ entry: (entry) => void entries.push(entry), body: () => undefined, end: () => undefined })
      void reader.write(header({ size: size < 8 * 2 ** 30 ? size : binary.toString('latin1') }))
      expect(entries).toMatchObject([{ sizeBytes: size }])
      expect(() => reader.finish()).toThrow('middle')
    }
    const [seen] = await read(Buffer.concat([header({ name: 'x'.repeat(100), prefix: 'y'.repeat(155) }), ending]))
    expect(seen?.path).toBe(`${'y'.repeat(155)}/${'x'.repeat(100)}`)
    const [foreign] = await read(Buffer.concat([header({ prefix: 'no prefix in this dialect', magic: 'ustar  \0' }), ending]))
    expect(foreign?.path).toBe('base/5/16384')
    const [odd] = await read(Buffer.concat([header({ name: Buffer.from([0x61, 0xe9]) }), ending]))
    expect(odd?.path).toBe('a\u00e9')
  })

  it('never leads out of its directory', async () => {
    for (const name of ['/etc/passwd', '../x', 'a/../b', 'a//b', '.', './', '', './/a', 'a/.', 'a/', '..', 'base/..', '././a']) {
      expect([name, await refused(header({ name }))]).toEqual([name, expect.stringContaining('leads outside')])
      const type = '5'
      if (name !== 'a/') expect([name, await refused(header({ name, type }))]).toEqual([name, expect.stringContaining('leads outside')])
    }
    expect(await refused(header({ name: 'x', prefix: '..' }))).toContain('leads outside')
    expect(await refused(header({ name: 'global/pg_control', type: '2', link: '/etc/passwd' }))).toContain('only tablespaces')
    expect(await refused(header({ name: 'pg_tblspc/1/x', type: '2', link: '/etc/passwd' }))).toContain('only tablespaces')
    const link = header({ name: 'pg_tblspc/16500', type: '2', link: '/etc' })
    for (const name of ['pg_tblspc/16500/passwd', 'pg_tblspc/16500'])
      expect(await refused(Buffer.concat([link, member(name, content(3))]))).toContain('behind a link')
    expect(await refused(header({ name: 'pg_tblspc/16500', type: '2' }))).toContain('points')
    expect(await refused(header({ name: 'pg_tblspc/16500', type: '2', link: Buffer.from([0x2f, 0xff]) }))).toContain('points')
  })

  it('holds nothing but files, directories and links, whatever the header claims', async () => {
    for (const type of ['1', '3', '4', '6', '7', 'x', 'g', 'L', 'K', 'S', 'D', 'V'])
      expect([type, await refused(header({ type }))]).toEqual([type, expect.stringContaining('neither')])
    for (const type of ['5', '2']) expect(await refused(header({ name: 'pg_tblspc/1', type, size: 512, link: '/x' }))).toContain('has content')
    for (const size of ['99999999999 ', '', '-1', '0x10', '\xff'.repeat(12), `\x80${'\xff'.repeat(11)}`])
      expect([size, await refused(header({ size }))]).toEqual([size, expect.stringContaining('size')])
    expect(await refused(header({ mode: 'rwxr-xr-x' }))).toContain('permissions')
    const damaged = header({})
    damaged[3] = (damaged[3] ?? 0) ^ 1
    expect(await refused(damaged)).toContain('checksum')
  })

  it('that is no tar at all is refused, without crash or hang', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 3000 }), fc.integer({ min: 1, max: 700 }), async (bytes, size) => {
        if (bytes.every((byte) => byte === 0)) return
        await expect(read(Buffer.from(bytes), { sizes: [size] })).rejects.toBeInstanceOf(Failure)
      }),
      { numRuns: 200 },
    )
  })

  it('with one header changed anywhere and its checksum made right is read or refused, and never more', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(511), fc.nat(255), async (at, value) => {
        const bytes = Buffer.from(whole)
        bytes[at] = value
        withChecksum(bytes.subarray(0, 512))
        await read(bytes).catch((error: unknown) => expect(error).toBeInstanceOf(Failure))
      }),
      { numRuns: 400 },
    )
  })
})

describe('a tar of this machine', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tidemark-base-tar-'))
    await mkdir(join(directory, 'data/base/5'), { recursive: true })
    await mkdir(join(directory, 'data/pg_tblspc'))
    await writeFile(join(directory, 'data/base/5/16384'), Buffer.alloc(20_000, 'x'))
    await writeFile(join(directory, 'data/base/5/Übung'), 'y')
    await symlink('/srv/other', join(directory, 'data/pg_tblspc/16500'))
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  const tarOf = (...args: string[]) =>
    buffer(spawn('tar', ['-cf', '-', '-C', join(directory, 'data'), ...args], { stdio: ['ignore', 'pipe', 'inherit'] }).stdout)

  it('is read as well, in both dialects', async () => {
    for (const format of ['ustar', 'gnu']) {
      const seen = await read(await tarOf('--format', format, 'base', 'pg_tblspc'))
      expect(seen.map(({ path, kind, sizeBytes }) => `${kind} ${Buffer.from(path, 'latin1').toString()} ${sizeBytes}`).toSorted()).toEqual([
        'directory base 0',
        'directory base/5 0',
        'directory pg_tblspc 0',
        'file base/5/16384 20000',
        'file base/5/Übung 1',
        'symlink pg_tblspc/16500 0',
      ])
    }
  })

  it('with a sparse file or extended headers is refused', async () => {
    await writeFile(join(directory, 'data/sparse'), '')
    await truncate(join(directory, 'data/sparse'), 2 ** 20)
    await expect(read(await tarOf('--sparse', '--format', 'gnu', 'sparse'))).rejects.toThrow('neither')
    await expect(read(await tarOf('--format', 'pax', 'base/5/Übung'))).rejects.toThrow('neither')
  })
})
