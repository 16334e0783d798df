import { blake3 } from '@napi-rs/blake-hash'
import { encodeLeaf, type LeafEntry } from '../../packs/leaf.ts'
import type { PackBuilder } from '../../packs/pack-builder.ts'
import { headerBytes } from '../../packs/pack-format.ts'
import type { IndexedPack } from '../../packs/pack-index.ts'
import type { PackTable } from '../../packs/pack-table.ts'
import { leafDigest } from '../../packs/page-hasher.ts'
import type { LeafPlace } from '../../packs/root-tables.ts'
import type { Upload } from '../../packs/upload.ts'
import { pathBytes } from '../../pgdata/file-path.ts'
import type { FrameUse } from './frame-use.ts'
import type { PriorBackup } from './prior-backup.ts'

/** Writes the leaves of a backup: docs/base-backups.md "Leaf". */
export interface LeafWriter {
  /** A part of a large file: a leaf of its own, written at once. */
  part(entry: LeafEntry): void
  /** A small file or a directory: kept until all are known. */
  small(entry: LeafEntry): void
  /** Waits until the storage has taken what was written. */
  room(): Promise<void>
  /** Writes the groups. Resolves when all are durable. */
  finish(): Promise<{ readonly leaves: readonly LeafPlace[]; readonly pack: IndexedPack | null; /** Of all files. */ readonly sizeBytes: number }>
  /** What is not durable yet never will be. */
  abandon(): Promise<void>
}

export interface LeafWriterOptions {
  readonly packs: PackTable
  readonly builder: PackBuilder
  /** Begins the object of the leaves' pack, when there is one to be written. */
  readonly upload: () => Upload
  readonly hashKey: Uint8Array
  readonly prior: PriorBackup
  readonly use: FrameUse
}

/** A group ends behind a path of which the hash begins with a zero byte, and here at the latest. */
const largestGroupBytes = 256 << 10
const waitingBytes = 8 << 20

export function createLeafWriter({ packs, builder, upload: begin, hashKey, prior, use }: LeafWriterOptions): LeafWriter {
  const leaves: LeafPlace[] = []
  const small: LeafEntry[] = []
  let upload: Upload | null = null
  let sizeBytes = 0

  const write = (entries: readonly LeafEntry[], firstPage: number | null): void => {
    const [first] = entries
    if (first === undefined) return
    const content = encodeLeaf(entries, packs)
    const digest = leafDigest(content, hashKey)
    const known = prior.leaf(digest)
    if (known !== undefined) leaves.push({ ...known, path: first.path, firstPage })
    else {
      if (upload === null) {
        upload = begin()
        upload.push(builder.begin())
      }
      leaves.push({ path: first.path, firstPage, pack: packs.numberOf(builder.header.id), frame: builder.next, digest })
      upload.push(builder.frame(content))
    }
    const place = leaves.at(-1)
    if (place !== undefined) use.leaf(place.pack, place.frame)
  }
  const writeGroups = (): void => {
    small.sort((a, b) => (a.path < b.path ? -1 : 1))
    let group: LeafEntry[] = []
    let bytes = 0
    for (const entry of small) {
      group.push(entry)
      bytes += roughBytes(entry)
      if (bytes < largestGroupBytes && blake3(pathBytes(entry.path))[0] !== 0) continue
      write(group, null)
      group = []
      bytes = 0
    }
    write(group, null)
  }
  return {
    part: (entry) => {
      use.extents(entry)
      if (entry.firstPage === 0) sizeBytes += entry.sizeBytes
      write([entry], entry.firstPage)
    },
    small: (entry) => {
      use.extents(entry)
      sizeBytes += entry.sizeBytes
      small.push(entry)
    },
    room: async () => upload?.room(waitingBytes),
    abandon: async () => upload?.abandon(new Error('the backup ended')),
    finish: async () => {
      writeGroups()
      leaves.sort(inOrder)
      if (upload === null) return { leaves, pack: null, sizeBytes }
      upload.push(builder.end())
      const stored = await upload.end()
      const { id, keyKind, epoch } = builder.header
      return { leaves, pack: { id, keyKind, epoch, key: upload.key, offset: headerBytes, objectBytes: stored.sizeBytes, frames: builder.frames }, sizeBytes }
    },
  }
}

const roughBytes = ({ path, hashes, extents }: LeafEntry) => path.length + hashes.length + 8 * extents.length + 8

function inOrder(a: LeafPlace, b: LeafPlace): number {
  if (a.path !== b.path) return a.path < b.path ? -1 : 1
  return (a.firstPage ?? -1) - (b.firstPage ?? -1)
}
