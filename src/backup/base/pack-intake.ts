import type { Storage } from '../../storage/storage.ts'
import { beginUpload, type Upload } from '../../packs/upload.ts'
import { headerBytes, type FrameLengths, type KeyKind } from '../../packs/pack-format.ts'
import type { IndexedPack } from '../../packs/pack-index.ts'
import type { PackTable } from '../../packs/pack-table.ts'
import type { PackOutput } from './page-job.ts'

/** Stores the packs that one thread makes, one after the other, and knows what is in them. */
export interface PackIntake {
  /** The number in the table of packs, of a pack by the thread's own count. */
  numberOf(ordinal: number): number
  /** Bytes that the storage has not taken yet. */
  readonly waitingBytes: number
  take(output: readonly PackOutput[]): void
  /** Waits until the storage has taken all but `bytes`. Rejects with what the storage refused. */
  room(bytes: number): Promise<void>
  /** Resolves when every pack is durable. */
  end(): Promise<readonly IndexedPack[]>
  abandon(reason: unknown): Promise<void>
}

interface OpenPack {
  readonly id: Buffer
  readonly upload: Upload
  readonly frames: FrameLengths[]
}

export interface PackIntakeOptions {
  readonly packs: PackTable
  /** The object of a pack. */
  readonly keyOf: (id: Buffer) => string
  readonly keyKind: KeyKind
  readonly signal: AbortSignal
}

/** `failed` is told at once when the storage refuses, long before anybody waits for the end. */
export function createPackIntake(storage: Storage, { packs, keyOf, keyKind, signal }: PackIntakeOptions, failed: (error: unknown) => void): PackIntake {
  const numbers: number[] = []
  const started: OpenPack[] = []
  const ending: Promise<IndexedPack>[] = []
  const current = (): OpenPack => {
    const pack = started.at(-1)
    if (pack === undefined) throw new Error('a thread sent bytes of a pack that it had not begun')
    return pack
  }
  const end = async ({ id, upload, frames }: OpenPack): Promise<IndexedPack> => {
    const { sizeBytes } = await upload.end()
    return { id, keyKind, epoch: 0, key: upload.key, offset: headerBytes, objectBytes: sizeBytes, frames }
  }
  return {
    numberOf: (ordinal) => {
      const number = numbers[ordinal]
      if (number === undefined) throw new Error(`a thread spoke of its pack ${ordinal}, which it had not begun`)
      return number
    },
    get waitingBytes() {
      return started.slice(-2).reduce((bytes, { upload }) => bytes + upload.waitingBytes, 0)
    },
    take: (output) => {
      for (const part of output) {
        if (part.kind === 'begin') {
          const id = Buffer.from(part.id)
          const upload = beginUpload(storage, keyOf(id), { signal })
          upload.stored.catch(failed)
          numbers.push(packs.numberOf(id))
          started.push({ id, upload, frames: [] })
        }
        const pack = current()
        pack.upload.push(part.bytes)
        if (part.kind === 'frame') pack.frames.push({ stored: part.bytes.length, content: part.content })
        if (part.kind === 'end') {
          const ended = end(pack)
          // `failed` was told; `end` says it again.
          ended.catch(() => undefined)
          ending.push(ended)
        }
      }
    },
    room: async (bytes) => {
      for (const { upload } of started.slice(-2)) await upload.room(bytes)
    },
    end: () => Promise.all(ending),
    abandon: async (reason) => {
      await Promise.all(started.map(({ upload }) => upload.abandon(reason)))
    },
  }
}
