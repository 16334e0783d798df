import { lstat, readdir, statfs, unlink } from 'node:fs/promises'
import { dirname, isAbsolute, normalize } from 'node:path'
import { Failure } from '../kernel/failure.ts'
import { checkedChunks } from './body.ts'
import { objectExists, objectMissing } from './errors.ts'
import { requireKey, requirePrefix } from './key.ts'
import { attempting, orAbsent } from './posix-errors.ts'
import { aliasTarget, listFiles, readFile, statFile } from './posix-read.ts'
import { pathOf, scratchDirectory, syncDirectory, walkTo } from './posix-tree.ts'
import type { PosixAccess, PosixTree } from './posix-tree.ts'
import { beginDraft, publish, publishAlias, removeStaleDrafts, writeChunks } from './posix-write.ts'
import type { Body, PutOptions, Storage, StoredObject } from './storage.ts'

export interface PosixOptions {
  /** Absolute path of the directory; made when first written to. */
  readonly root: string
  /** Default: directories 0700, files 0600, owner and group as the process has them. */
  readonly access?: Partial<PosixAccess>
}

/**
 * Objects as files below a directory, for people and other programs to open. Half-written files live in
 * `.tidemark-tmp/` on the same file system; every object is written there, fsynced, then named.
 */
export function posixStorage(options: PosixOptions): Storage {
  if (!isAbsolute(options.root)) throw new Failure('config-invalid', `cannot use "${options.root}" as a repository: the path is not absolute`)
  const tree: PosixTree = {
    root: normalize(options.root).replace(/(?<=.)\/+$/, ''),
    access: { dirMode: 0o700, fileMode: 0o600, uid: -1, gid: -1, ...options.access },
  }
  const location = tree.root

  async function put(key: string, body: Body, put: PutOptions = {}): Promise<StoredObject> {
    requireKey(key)
    put.signal?.throwIfAborted()
    const action = `store "${key}" in ${location}`
    // Found out before the body is drawn, where it can be; link(2) decides in the end.
    if (put.ifAbsent === true && (await attempting(action, () => isTaken(tree, key)))) throw objectExists(location, key)
    // The source's own errors, system errors included, must come out as they are.
    let sourceError: { error: unknown } | undefined
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield* checkedChunks(key, body, put)
      } catch (error) {
        sourceError = { error }
        throw error
      }
    }
    try {
      return await attempting(action, async () => {
        await using draft = await beginDraft(tree)
        const sizeBytes = await writeChunks(draft.file, source())
        const { size } = await draft.file.stat()
        if (size !== sizeBytes) throw new Failure('storage-failed', `cannot ${action}: ${sizeBytes} bytes were written and ${size} are there`)
        put.signal?.throwIfAborted()
        await publish(tree, draft, { key, location, ifAbsent: put.ifAbsent === true })
        const stats = await draft.file.stat({ bigint: true })
        return { key, sizeBytes, modifiedAt: new Temporal.Instant(stats.mtimeNs), version: `${stats.ino}-${stats.size}-${stats.mtimeNs}` }
      })
    } catch (error) {
      throw sourceError === undefined ? error : sourceError.error
    }
  }

  return {
    kind: 'posix',
    location,
    put,
    read(key, read = {}) {
      requireKey(key)
      return readFile(tree, { key, location }, read)
    },
    async stat(key, call = {}) {
      requireKey(key)
      call.signal?.throwIfAborted()
      return attempting(`look at "${key}" in ${location}`, () => statFile(tree, key))
    },
    list(prefix, call = {}) {
      requirePrefix(prefix)
      return listFiles(tree, prefix, location, call.signal)
    },
    async delete(key, call = {}) {
      requireKey(key)
      call.signal?.throwIfAborted()
      await attempting(`remove "${key}" in ${location}`, () => removeFile(tree, key))
    },
    async copy(from, to, call = {}) {
      requireKey(from)
      requireKey(to)
      const source = await attempting(`copy "${from}" in ${location}`, async () => statFile(tree, (await aliasTarget(tree, from)) ?? from))
      if (source === undefined) throw objectMissing(location, from)
      return put(to, () => readFile(tree, { key: from, location }, { ...call, ifVersion: source.version }), { ...call, sizeBytes: source.sizeBytes })
    },
    localPath(key) {
      requireKey(key)
      return pathOf(tree, key)
    },
    async setAlias(key, target) {
      requireKey(key)
      requireKey(target)
      await attempting(`point "${key}" at "${target}" in ${location}`, () => publishAlias(tree, { key, target, location }))
    },
    async readAlias(key) {
      requireKey(key)
      return attempting(`look at "${key}" in ${location}`, () => aliasTarget(tree, key))
    },
    async freeBytes() {
      return attempting(`ask for the free space of ${location}`, async () => {
        const { bavail, bsize } = await statfs(tree.root, { bigint: true })
        return Number(bavail * bsize)
      })
    },
    async abortStaleUploads(olderThanMs, call = {}) {
      call.signal?.throwIfAborted()
      return attempting(`sweep unfinished files in ${location}`, async () => {
        const names = (await orAbsent(() => readdir(scratchDirectory(tree)))) ?? []
        return names.length === 0 ? 0 : removeStaleDrafts(tree, names, olderThanMs)
      })
    },
    async [Symbol.asyncDispose]() {},
  }
}

async function isTaken(tree: PosixTree, key: string): Promise<boolean> {
  return (await walkTo(tree, key)) && (await orAbsent(() => lstat(pathOf(tree, key)))) !== undefined
}

/** The emptied directories stay: removing them would race with a writer that has just looked. */
async function removeFile(tree: PosixTree, key: string): Promise<void> {
  if (!(await walkTo(tree, key))) return
  const path = pathOf(tree, key)
  const stats = await orAbsent(() => lstat(path))
  if (stats === undefined || stats.isDirectory()) return
  await orAbsent(() => unlink(path))
  await syncDirectory(dirname(path))
}
