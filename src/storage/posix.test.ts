import { execFile } from 'node:child_process'
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { listKeys, noise, readAll } from './conformance-tools.ts'
import { idOf } from './posix-owner.ts'
import { posixStorage } from './posix.ts'

const run = promisify(execFile)
let base: string
let root: string

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'tidemark-posix-'))
  root = join(base, 'repository')
})

afterEach(() => rm(base, { recursive: true, force: true }))

async function modeOf(path: string): Promise<string> {
  return ((await lstat(path)).mode & 0o7777).toString(8)
}

describe('files and directories', () => {
  it('are readable by their owner only, whatever the umask', async () => {
    const before = process.umask(0)
    try {
      await posixStorage({ root }).put('a/b/object', noise(1))
    } finally {
      process.umask(before)
    }
    expect(await modeOf(join(root, 'a/b/object'))).toBe('600')
    for (const directory of [root, join(root, 'a'), join(root, 'a/b'), join(root, '.tidemark-tmp')]) expect(await modeOf(directory)).toBe('700')
  })

  it('have the configured modes, owner and group, also where the umask would take them away', async () => {
    const before = process.umask(0o077)
    const asRoot = process.getuid?.() === 0
    try {
      await posixStorage({ root, access: { dirMode: 0o2750, fileMode: 0o640, ...(asRoot ? { uid: 12_345, gid: 12_346 } : {}) } }).put('a/object', noise(1))
    } finally {
      process.umask(before)
    }
    expect(await modeOf(join(root, 'a/object'))).toBe('640')
    expect(await modeOf(join(root, 'a'))).toBe('2750')
    expect(await modeOf(join(root, '.tidemark-tmp'))).toBe('700')
    if (asRoot) for (const path of ['a/object', 'a', '']) expect(await stat(join(root, path))).toMatchObject({ uid: 12_345, gid: 12_346 })
  })

  it('are given to users and groups by name or number, and to nobody unknown', async () => {
    expect(await idOf('user', null)).toBe(-1)
    expect(await idOf('user', 'root')).toBe(0)
    expect(await idOf('group', '1234')).toBe(1234)
    await expect(idOf('user', 'no-such-user')).rejects.toMatchObject({ code: 'config-invalid' })
    await expect(idOf('group', '--help')).rejects.toMatchObject({ code: 'config-invalid' })
  })

  it('leave nothing in the scratch directory, neither after success nor after failure', async () => {
    const storage = posixStorage({ root })
    await storage.put('object', noise(10))
    await storage.put('new', noise(10), { ifAbsent: true })
    await storage.setAlias?.('latest', 'object')
    await expect(storage.put('object', noise(10), { ifAbsent: true })).rejects.toMatchObject({ code: 'object-exists' })
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield noise(10)
      throw new Error('broke')
    }
    await expect(storage.put('x', failing())).rejects.toThrow('broke')
    expect(await readdir(join(root, '.tidemark-tmp'))).toEqual([])
    expect((await stat(join(root, 'new'))).nlink).toBe(1)
  })

  it('pass an error of the source that looks like an error of the disk', async () => {
    const error = Object.assign(new Error('read failed'), { code: 'EIO', syscall: 'read' })
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield noise(1)
      throw error
    }
    await expect(posixStorage({ root }).put('x', failing())).rejects.toBe(error)
  })
})

describe('links', () => {
  it('to directories inside the repository are never followed, in no operation', async () => {
    const outside = join(base, 'outside')
    await mkdir(outside)
    await writeFile(join(outside, 'secret'), 'secret')
    const storage = posixStorage({ root })
    await storage.put('real/object', noise(1))
    await symlink(outside, join(root, 'link'))
    for (const call of [
      () => storage.put('link/new', noise(1)),
      () => storage.put('link/new', noise(1), { ifAbsent: true }),
      () => readAll(storage, 'link/secret'),
      () => storage.stat('link/secret'),
      () => storage.delete('link/secret'),
      () => storage.copy('link/secret', 'copy'),
      () => storage.copy('real/object', 'link/copy'),
      () => storage.setAlias?.('link/alias', 'real/object'),
      () => listKeys(storage, 'link/'),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'storage-denied', message: expect.stringContaining('symbolic link') })
    }
    expect(await listKeys(storage, '')).toEqual(['real/object'])
    expect(await readdir(outside)).toEqual(['secret'])
    expect((await readFile(join(outside, 'secret'))).toString()).toBe('secret')
  })

  it.each(['/etc/hostname', '../outside', '../../../etc/hostname'])('to %s in the place of an object are refused', async (target) => {
    const storage = posixStorage({ root })
    await storage.put('dir/object', noise(1))
    await writeFile(join(base, 'outside'), 'secret')
    await symlink(target.startsWith('/') ? target : `../${target}`, join(root, 'dir/link'))
    await expect(readAll(storage, 'dir/link')).rejects.toMatchObject({ code: 'storage-denied' })
    await expect(storage.copy('dir/link', 'copy')).rejects.toMatchObject({ code: 'storage-denied' })
    expect(await storage.stat('dir/link')).toBeUndefined()
    expect(await listKeys(storage, '')).toEqual(['dir/object'])
    // Writing and removing act on the name, not on what it points at.
    await storage.put('dir/link', Buffer.from('mine'))
    expect((await readFile(join(base, 'outside'))).toString()).toBe('secret')
    expect((await readAll(storage, 'dir/link')).toString()).toBe('mine')
  })

  it('made as aliases are relative, so that a moved repository keeps them', async () => {
    const storage = posixStorage({ root })
    await storage.put('2026/01/object', Buffer.from('x'))
    await storage.setAlias?.('daily/latest', '2026/01/object')
    expect(await readlink(join(root, 'daily/latest'))).toBe('../2026/01/object')
    expect((await readFile(join(root, 'daily/latest'))).toString()).toBe('x')
    await storage.delete('2026/01/object')
    await expect(readAll(storage, 'daily/latest')).rejects.toMatchObject({ code: 'object-missing' })
  })

  it('do not lead an alias from one to the next', async () => {
    const storage = posixStorage({ root })
    await storage.put('object', noise(1))
    await storage.setAlias?.('first', 'object')
    await symlink('first', join(root, 'second'))
    await expect(readAll(storage, 'second')).rejects.toMatchObject({ code: 'storage-denied' })
  })

  it('to the repository itself are fine', async () => {
    await mkdir(join(base, 'disk'))
    await symlink(join(base, 'disk'), root)
    const storage = posixStorage({ root })
    await storage.put('a/object', noise(3))
    expect(await listKeys(storage, '')).toEqual(['a/object'])
    expect(await storage.freeBytes?.()).toBeGreaterThan(0)
  })
})

describe('what is no object', () => {
  it('is neither shown nor read, and does not hold a reader', async () => {
    const storage = posixStorage({ root })
    await storage.put('object', noise(1))
    await run('mkfifo', [join(root, 'pipe')])
    await writeFile(join(root, 'new\nline'), 'x')
    await writeFile(join(root, '.tidemark-tmp', 'draft'), 'x')
    expect(await listKeys(storage, '')).toEqual(['object'])
    expect(await storage.stat('pipe')).toBeUndefined()
    await expect(readAll(storage, 'pipe')).rejects.toMatchObject({ code: 'object-missing' })
  })

  it('is removed from the scratch directory when it is old, and only then', async () => {
    const storage = posixStorage({ root })
    expect(await storage.abortStaleUploads?.(0)).toBe(0)
    await storage.put('object', noise(1))
    const draft = (name: string) => join(root, '.tidemark-tmp', name)
    await writeFile(draft('old'), 'x')
    await writeFile(draft('young'), 'x')
    const yesterday = (await stat(draft('young'))).mtimeMs / 1000 - 90_000
    await utimes(draft('old'), yesterday, yesterday)
    expect(await storage.abortStaleUploads?.(24 * 3600_000)).toBe(1)
    expect(await readdir(join(root, '.tidemark-tmp'))).toEqual(['young'])
  })

  it('a file that is cut while it is read is an error, not an early end', async () => {
    const storage = posixStorage({ root })
    await storage.put('object', noise(3_000_000))
    const { truncate } = await import('node:fs/promises')
    await expect(
      (async () => {
        for await (const _ of storage.read('object')) await truncate(join(root, 'object'), 1000)
      })(),
    ).rejects.toMatchObject({ code: 'storage-failed', message: expect.stringContaining('it ended after') })
  })

  it('a repository that is a file is not an empty repository', async () => {
    await writeFile(root, 'x')
    const storage = posixStorage({ root })
    await expect(listKeys(storage, '')).rejects.toMatchObject({ code: 'storage-failed', message: expect.stringContaining('not a directory') })
    await expect(storage.put('a', noise(1))).rejects.toMatchObject({ code: 'storage-failed' })
  })
})
