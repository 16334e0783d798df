import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { listKeys, noise, readAll } from '../../src/storage/conformance-tools.ts'
import { posixStorage } from '../../src/storage/posix.ts'

const run = promisify(execFile)
const asRoot = process.getuid?.() === 0
const script = new URL('../support/posix-put.ts', import.meta.url).pathname
const straced =
  asRoot &&
  (await run('strace', ['-V']).then(
    () => true,
    () => false,
  ))

if (!asRoot) console.warn('SKIPPED: full and read-only file systems (mounting needs root)')
if (!straced) console.warn('SKIPPED: order of system calls and failing fsync (strace is not installed, or not root)')

let base: string

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'tidemark-faults-'))
})

afterEach(() => rm(base, { recursive: true, force: true }))

describe.skipIf(!asRoot)('a file system that', () => {
  async function mounted(use: (directory: string) => Promise<void>): Promise<void> {
    const directory = join(base, 'mount')
    await mkdir(directory)
    await run('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', directory])
    try {
      await use(directory)
    } finally {
      await run('umount', [directory])
    }
  }

  it('is full refuses as storage-full, keeps what was there, shows nothing partial, and works again with space', async () => {
    await mounted(async (directory) => {
      const storage = posixStorage({ root: join(directory, 'repository') })
      const old = noise(1_000_000)
      await storage.put('old', old)
      await storage.put('filler', noise(2_000_000))
      for (const key of ['old', 'new']) {
        await expect(storage.put(key, noise(5_000_000))).rejects.toMatchObject({
          code: 'storage-full',
          message: expect.stringContaining('no space is left (ENOSPC)'),
        })
      }
      await expect(storage.copy('old', 'big').then(() => storage.copy('old', 'bigger'))).rejects.toMatchObject({ code: 'storage-full' })
      expect((await listKeys(storage, '')).filter((key) => key !== 'big')).toEqual(['filler', 'old'])
      expect(await readdir(join(directory, 'repository', '.tidemark-tmp'))).toEqual([])
      expect((await readAll(storage, 'old')).equals(old)).toBe(true)
      await storage.delete('big')
      await storage.delete('filler')
      await storage.put('new', noise(2_000_000))
    })
  })

  it('is read-only refuses as storage-denied and still reads', async () => {
    await mounted(async (directory) => {
      const storage = posixStorage({ root: join(directory, 'repository') })
      await storage.put('old', noise(10))
      await run('mount', ['-o', 'remount,ro', directory])
      for (const call of [
        () => storage.put('new', noise(1)),
        () => storage.put('old', noise(1)),
        () => storage.delete('old'),
        () => storage.setAlias?.('alias', 'old'),
      ]) {
        await expect(call()).rejects.toMatchObject({ code: 'storage-denied', message: expect.stringContaining('read-only') })
      }
      expect(await listKeys(storage, '')).toEqual(['old'])
      expect((await readAll(storage, 'old')).length).toBe(10)
    })
  })

  it('is another one below the repository is refused, not copied to in the open', async () => {
    await mounted(async (directory) => {
      const root = join(base, 'repository')
      const storage = posixStorage({ root })
      await storage.put('other/object', noise(1))
      await run('mount', ['--bind', directory, join(root, 'other')])
      try {
        await expect(storage.put('other/new', noise(1))).rejects.toMatchObject({
          code: 'storage-failed',
          message: expect.stringContaining('several file systems'),
        })
      } finally {
        await run('umount', [join(root, 'other')])
      }
    })
  })
})

describe.skipIf(!asRoot)('a directory of somebody else', () => {
  it('is refused as storage-denied', async () => {
    await run('chmod', ['755', base])
    const child = run(process.execPath, [script, join(base, 'repository'), 'key', '10'], { uid: 65_534, gid: 65_534, cwd: '/' })
    expect((await child).stdout).toMatch(/^refused storage-denied: .*permission denied \(EACCES\)/)
  })
})

describe.skipIf(!straced)('the order of system calls', () => {
  async function trace(ifAbsent: boolean): Promise<readonly string[]> {
    const root = join(base, 'repository')
    const file = join(base, 'trace')
    const calls = 'openat,write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,link,linkat,mkdir,mkdirat'
    const { stdout } = await run('strace', [
      '-f',
      '-y',
      '-o',
      file,
      '-e',
      `trace=${calls}`,
      process.execPath,
      script,
      root,
      'a/object',
      '1000',
      ...(ifAbsent ? ['if-absent'] : []),
    ])
    expect(stdout).toBe('stored 1000\n')
    // With -y every descriptor is followed by its path.
    return (await readFile(file, 'utf8')).split('\n').filter((line) => line.includes(root) && !line.includes('resumed'))
  }

  it.each([
    [false, /rename\w*\(.*\.tidemark-tmp\/.*a\/object"/],
    [true, /link\w*\(.*\.tidemark-tmp\/.*a\/object"/],
  ] as const)('is write, fsync, name, fsync of the directory, so that a power cut shows all or nothing (if absent: %s)', async (ifAbsent, naming) => {
    const lines = await trace(ifAbsent)
    const first = (pattern: RegExp, after = -1) => {
      const found = lines.findIndex((line, index) => index > after && pattern.test(line))
      expect(found, `${pattern} after line ${after} of\n${lines.join('\n')}`).toBeGreaterThan(after)
      return found
    }
    const written = first(/write\w*\(\d+<[^>]*\.tidemark-tmp\//)
    const synced = first(/fsync\(\d+<[^>]*\.tidemark-tmp\/[0-9a-f]+/, written)
    const named = first(naming, synced)
    first(/fsync\(\d+<[^>]*\/a>/, named)
    // Each new directory is durable in its parent before the object is.
    first(/fsync\(\d+<[^>]*\/repository>/, first(/mkdir\w*\(.*\/a"/))
    expect(lines.slice(synced, named).some((line) => /write\w*\(\d+<[^>]*\.tidemark-tmp/.test(line))).toBe(false)
  })

  it('ends at an fsync that fails: the object does not appear', async () => {
    const root = join(base, 'repository')
    await posixStorage({ root }).put('a/old', noise(1))
    const { stdout } = await run('strace', [
      '-f',
      '-qq',
      '-o',
      '/dev/null',
      '-e',
      'trace=fsync',
      '-e',
      'inject=fsync:error=EIO',
      process.execPath,
      script,
      root,
      'a/object',
      '1000',
    ])
    expect(stdout).toMatch(/^refused storage-failed: .*input\/output error \(EIO\)/)
    expect(await listKeys(posixStorage({ root }), '')).toEqual(['a/old'])
    expect(await readdir(join(root, '.tidemark-tmp'))).toEqual([])
  })
})
