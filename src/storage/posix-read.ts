import { constants } from 'node:fs'
import { lstat, open, readdir, readlink, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { posix as paths } from 'node:path'
import type { BigIntStats } from 'node:fs'
import { Failure, systemCodeOf } from '../kernel/failure.ts'
import { beyondEnd, objectMissing, replacedWhileReading, requireRange, shortRead } from './errors.ts'
import { compareKeys, isKey, keyProblem, reservedDirectory } from './key.ts'
import { attempting, orAbsent } from './posix-errors.ts'
import { pathOf, walkTo } from './posix-tree.ts'
import type { PosixTree } from './posix-tree.ts'
import type { ReadOptions, StoredObject } from './storage.ts'

const readChunkBytes = 512 * 1024

export function describeFile(key: string, stats: BigIntStats): StoredObject {
  return {
    key,
    sizeBytes: Number(stats.size),
    modifiedAt: new Temporal.Instant(stats.mtimeNs),
    version: `${stats.ino}-${stats.size}-${stats.mtimeNs}`,
  }
}

/** The object's facts, or undefined when no regular file is there. */
export async function statFile(tree: PosixTree, key: string): Promise<StoredObject | undefined> {
  if (!(await walkTo(tree, key))) return undefined
  const stats = await orAbsent(() => lstat(pathOf(tree, key), { bigint: true }))
  return stats?.isFile() === true ? describeFile(key, stats) : undefined
}

/** The key an alias points at, or undefined when `key` is no symbolic link. A link out of the tree is refused. */
export async function aliasTarget(tree: PosixTree, key: string): Promise<string | undefined> {
  if (!(await walkTo(tree, key))) return undefined
  const path = pathOf(tree, key)
  const stats = await orAbsent(() => lstat(path))
  if (stats?.isSymbolicLink() !== true) return undefined
  const link = await readlink(path)
  const target = link.startsWith('/') ? link : paths.join(paths.dirname(key), link)
  const problem = keyProblem(target)
  if (problem === undefined) return target
  throw new Failure('storage-denied', `cannot follow "${path}": it is a link out of the repository (${problem})`, {
    hints: ['remove the link; Tidemark makes only relative links inside the repository'],
  })
}

/** Streams a regular file or a part of it. What was opened is read to the end even when the name is given away meanwhile. */
export async function* readFile(tree: PosixTree, place: { key: string; location: string }, options: ReadOptions): AsyncGenerator<Uint8Array> {
  const { key, location } = place
  const { offset = 0, length, signal } = options
  requireRange(key, offset, length)
  signal?.throwIfAborted()
  const action = `read "${key}" in ${location}`
  await using file = await attempting(action, () => openRegular(tree, key, location))
  const object = describeFile(key, await attempting(action, () => file.stat({ bigint: true })))
  if (options.ifVersion !== undefined && options.ifVersion !== object.version) throw replacedWhileReading(location, key)
  const end = length === undefined ? object.sizeBytes : offset + length
  if (offset > object.sizeBytes || end > object.sizeBytes) throw beyondEnd(location, key, { offset, length, sizeBytes: object.sizeBytes })
  options.opened?.(object)
  for (let at = offset; at < end;) {
    signal?.throwIfAborted()
    // A fresh buffer each time: the consumer may keep chunks.
    const buffer = Buffer.allocUnsafeSlow(Math.min(readChunkBytes, end - at))
    const { bytesRead } = await attempting(action, () => file.read(buffer, 0, buffer.length, at))
    // Not transient: a file that was cut stays cut.
    if (bytesRead === 0) throw shortRead(location, key, { expected: end - offset, found: at - offset }, { details: { transient: false } })
    at += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}

async function openRegular(tree: PosixTree, key: string, location: string): Promise<FileHandle> {
  const target = (await aliasTarget(tree, key)) ?? key
  if (!(await walkTo(tree, target))) throw objectMissing(location, key)
  try {
    // Without O_NONBLOCK a FIFO put in the object's place would hold us for ever.
    const file = await open(pathOf(tree, target), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    if ((await file.stat()).isFile()) return file
    await file.close()
    throw objectMissing(location, key)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') throw objectMissing(location, key, error)
    throw error
  }
}

/**
 * Regular files below the root whose key begins with `prefix`, ascending. One directory's names are in memory at a
 * time per level. A directory that vanishes meanwhile had nothing that still counts; any other error ends the listing.
 */
export async function* listFiles(tree: PosixTree, prefix: string, location: string, signal: AbortSignal | undefined): AsyncGenerator<StoredObject> {
  const cut = prefix.lastIndexOf('/') + 1
  const directory = prefix.slice(0, cut)
  const root = await attempting(`list ${location}`, () => orAbsent(() => stat(tree.root)))
  // An absent root lists as empty: `repo init` looks before it creates. A root that is no directory does not.
  if (root === undefined) return
  if (!root.isDirectory()) throw new Failure('storage-failed', `cannot list ${location}: it is not a directory`)
  if (directory !== '' && !(await attempting(`list ${location}`, () => walkTo(tree, `${directory}x`)))) return
  yield* listDirectory({ tree, prefix, location, signal }, directory)
}

async function* listDirectory(
  task: { tree: PosixTree; prefix: string; location: string; signal: AbortSignal | undefined },
  directory: string,
): AsyncGenerator<StoredObject> {
  const { tree, prefix, location } = task
  const path = directory === '' ? tree.root : pathOf(tree, directory.slice(0, -1))
  const entries = await attempting(`list ${location}`, () => orAbsent(() => readdir(path, { withFileTypes: true })))
  // A directory sorts as its name with the slash that follows it in every key below.
  const keys = (entries ?? [])
    .map((entry) => `${directory}${entry.name}${entry.isDirectory() ? '/' : ''}`)
    .filter((key) => (key.endsWith('/') ? (key.startsWith(prefix) || prefix.startsWith(key)) && key !== `${reservedDirectory}/` : key.startsWith(prefix)))
    .sort(compareKeys)
  for (const key of keys) {
    task.signal?.throwIfAborted()
    if (key.endsWith('/')) {
      if (isKey(key.slice(0, -1))) yield* listDirectory(task, key)
      continue
    }
    if (!isKey(key)) continue
    const stats = await attempting(`list ${location}`, () => orAbsent(() => lstat(pathOf(tree, key), { bigint: true })))
    if (stats?.isFile() === true) yield describeFile(key, stats)
  }
}
