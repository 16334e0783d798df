import { chmod, chown, lstat, mkdir, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Failure, systemCodeOf } from '../kernel/failure.ts'
import { orAbsent } from './posix-errors.ts'
import { reservedDirectory } from './key.ts'

/** Who may read what we write. Modes hold whatever the umask; -1 leaves owner or group as the system sets them. */
export interface PosixAccess {
  readonly dirMode: number
  readonly fileMode: number
  readonly uid: number
  readonly gid: number
}

/** A directory tree that keys are resolved in. `root` is absolute; it may itself be reached through links. */
export interface PosixTree {
  readonly root: string
  readonly access: PosixAccess
}

export function pathOf(tree: PosixTree, key: string): string {
  return join(tree.root, ...key.split('/'))
}

export function scratchDirectory(tree: PosixTree): string {
  return join(tree.root, reservedDirectory)
}

/**
 * Refuses (`storage-denied`) a key one of whose directories is a symbolic link: through it the key would leave the
 * root. Returns false when a directory is absent. Who can swap directories between this look and the use of the path
 * has write access to the repository already, and needs no link.
 */
export async function walkTo(tree: PosixTree, key: string): Promise<boolean> {
  let path = tree.root
  for (const segment of key.split('/').slice(0, -1)) {
    path = join(path, segment)
    const stats = await orAbsent(() => lstat(path))
    if (stats === undefined) return false
    if (stats.isSymbolicLink()) throw linkInPath(path)
    if (!stats.isDirectory()) return false
  }
  return true
}

/** Creates the missing directories of a key, each durable and with our mode and owner before the next. */
export async function makeDirectoriesFor(tree: PosixTree, key: string): Promise<void> {
  await makeRoot(tree)
  let path = tree.root
  for (const segment of key.split('/').slice(0, -1)) {
    path = join(path, segment)
    await makeDirectory(path, tree.access)
  }
}

/** Private whatever `dirMode` says: half-written objects are nobody's business. */
export async function makeScratchDirectory(tree: PosixTree): Promise<void> {
  await makeRoot(tree)
  await makeDirectory(scratchDirectory(tree), { ...tree.access, dirMode: 0o700 })
}

async function makeRoot(tree: PosixTree): Promise<void> {
  if ((await orAbsent(() => lstat(tree.root))) !== undefined) return
  const missing: string[] = []
  for (let path = tree.root; (await orAbsent(() => lstat(path))) === undefined; path = dirname(path)) missing.unshift(path)
  for (const path of missing) await makeDirectory(path, tree.access)
}

async function makeDirectory(path: string, access: PosixAccess): Promise<void> {
  try {
    await mkdir(path, 0o700)
  } catch (error) {
    if (systemCodeOf(error) !== 'EEXIST') throw error
    const stats = await lstat(path)
    if (stats.isDirectory()) return
    if (stats.isSymbolicLink() && dirname(path) !== path) throw linkInPath(path)
    throw error
  }
  if (access.uid !== -1 || access.gid !== -1) await chown(path, access.uid, access.gid)
  await chmod(path, access.dirMode)
  await syncDirectory(dirname(path))
}

/** Makes the names in a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r')
  try {
    await directory.sync()
  } catch (error) {
    // Some network file systems have no such call for directories; their server orders names itself.
    if (systemCodeOf(error) !== 'EINVAL' && systemCodeOf(error) !== 'ENOTSUP') throw error
  }
}

function linkInPath(path: string): Failure {
  return new Failure('storage-denied', `cannot use "${path}": it is a symbolic link, and keys are not followed out of the repository`, {
    hints: ['replace the link by the directory itself (a bind mount is fine)'],
  })
}
