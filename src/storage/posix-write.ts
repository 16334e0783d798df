import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { link, lstat, open, rename, stat, symlink, unlink } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Failure, systemCodeOf } from '../kernel/failure.ts'
import { objectExists } from './errors.ts'
import { orAbsent } from './posix-errors.ts'
import { makeDirectoriesFor, makeScratchDirectory, pathOf, scratchDirectory, syncDirectory, walkTo } from './posix-tree.ts'
import type { PosixTree } from './posix-tree.ts'

/** A file that exists under no key yet. Disposing of it removes what was not published. */
export interface Draft extends AsyncDisposable {
  readonly file: FileHandle
  readonly path: string
}

/** Opens a new private file in the scratch directory. */
export async function beginDraft(tree: PosixTree): Promise<Draft> {
  await makeScratchDirectory(tree)
  const path = join(scratchDirectory(tree), randomBytes(12).toString('hex'))
  const file = await open(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW, 0o600)
  return {
    file,
    path,
    async [Symbol.asyncDispose]() {
      // Nothing hangs on these two: a published draft was fsynced, and the sweep removes what stays behind. An error
      // here would only hide the one that brought us here.
      await file.close().catch(() => undefined)
      await unlink(path).catch(() => undefined)
    },
  }
}

/**
 * Writes the chunks one after the other, waiting for each: what the kernel took is what we count. While many bytes
 * flow they are pushed to the disk now and then, so that the final fsync does not stall for minutes.
 */
export async function writeChunks(file: FileHandle, chunks: AsyncIterable<Uint8Array>): Promise<number> {
  let written = 0
  let unsynced = 0
  for await (const chunk of chunks) {
    let at = 0
    while (at < chunk.length) {
      const { bytesWritten } = await file.write(chunk, at, chunk.length - at)
      if (bytesWritten === 0) throw new Failure('storage-failed', 'cannot write: the file system takes no more bytes without saying why')
      at += bytesWritten
    }
    written += chunk.length
    unsynced += chunk.length
    if (unsynced >= syncEveryBytes) {
      await file.datasync()
      unsynced = 0
    }
  }
  return written
}

const syncEveryBytes = 256 * 1024 * 1024

/**
 * Gives the finished draft its name: mode and owner, fsync, then rename(2), or link(2) where nothing may be replaced
 * (link is atomic and fails when the name exists), then fsync of the directory.
 */
export async function publish(tree: PosixTree, draft: Draft, target: { key: string; location: string; ifAbsent: boolean }): Promise<void> {
  const { fileMode, uid, gid } = tree.access
  if (uid !== -1 || gid !== -1) await draft.file.chown(uid, gid)
  await draft.file.chmod(fileMode)
  await draft.file.sync()
  await makeDirectoriesFor(tree, target.key)
  const path = pathOf(tree, target.key)
  if (target.ifAbsent) await linkNew(draft, path, target)
  else await rename(draft.path, path)
  await syncDirectory(dirname(path))
}

async function linkNew(draft: Draft, path: string, target: { key: string; location: string }): Promise<void> {
  try {
    await link(draft.path, path)
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === 'EEXIST') {
      // Over NFS the answer to a link that happened may be lost and the call repeated by the kernel: then it is ours.
      const [ours, theirs] = [await draft.file.stat(), await orAbsent(() => lstat(path))]
      if (theirs !== undefined && theirs.ino === ours.ino && theirs.dev === ours.dev) return
      throw objectExists(target.location, target.key)
    }
    // EPERM is what link(2) says on file systems without hard links; a missing right to write is EACCES.
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOSYS' || code === 'EMLINK') {
      throw new Failure('storage-unsafe', `cannot create "${target.key}" in ${target.location} without risk: its file system has no hard links (${code})`, {
        cause: error,
        hints: ['use a file system with hard links (ext4, xfs, btrfs, zfs, NFS) for this repository'],
      })
    }
    throw error
  }
}

/** Points a relative symbolic link at another key, in one step, replacing only an earlier link. */
export async function publishAlias(tree: PosixTree, alias: { key: string; target: string; location: string }): Promise<void> {
  if (!(await walkTo(tree, alias.target)))
    throw new Failure('object-missing', `cannot point "${alias.key}" at "${alias.target}" in ${alias.location}: there is no such object`)
  await makeDirectoriesFor(tree, alias.key)
  const path = pathOf(tree, alias.key)
  const present = await orAbsent(() => lstat(path))
  if (present !== undefined && !present.isSymbolicLink()) throw objectExists(alias.location, alias.key)
  const climbs = '../'.repeat(alias.key.split('/').length - 1)
  await makeScratchDirectory(tree)
  const draft = join(scratchDirectory(tree), randomBytes(12).toString('hex'))
  await symlink(climbs + alias.target, draft)
  try {
    await rename(draft, path)
  } catch (error) {
    await unlink(draft)
    throw error
  }
  await syncDirectory(dirname(path))
}

/**
 * Removes drafts last written more than `olderThanMs` ago, by the file system's own clock (that of a file made now),
 * and returns how many. A draft still being written keeps renewing its time.
 */
export async function removeStaleDrafts(tree: PosixTree, names: readonly string[], olderThanMs: number): Promise<number> {
  await using mark = await beginDraft(tree)
  const nowMs = (await stat(mark.path)).mtimeMs
  let removed = 0
  for (const name of names) {
    const path = join(scratchDirectory(tree), name)
    if (path === mark.path) continue
    const stats = await orAbsent(() => lstat(path))
    if (stats === undefined || stats.isDirectory() || nowMs - stats.mtimeMs < olderThanMs) continue
    await orAbsent(() => unlink(path))
    removed += 1
  }
  return removed
}
