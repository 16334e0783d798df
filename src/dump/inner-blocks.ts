import { Failure, messageOf } from '../kernel/failure.ts'
import { createCopyStaging, type CopyStaging } from './copy-staging.ts'
import { malformed } from './faults.ts'
import { createDecompressor, decompressSmall, type Decompressor } from './inner-decompression.ts'
import type { ByteSink } from './sink.ts'

/** A block up to this size is decompressed at once, a larger one as a stream beside the scan. */
const gatherBytes = 64 * 1024

export interface InnerBlock {
  /** Named in failures. */
  readonly name: string
  /** Where the decompressed bytes go; null drops them, but only after they were decompressed: so is the block known to be whole. */
  readonly target: ByteSink | null
  /** Rows end with COPY's end marker, which is checked and not passed on. */
  readonly form: 'rows' | 'raw'
  readonly offset: number
}

/** Decompresses the blocks of an archive that pg_dump compressed itself (-Z1 to -Z9, zstd). */
export interface InnerBlocks {
  begin(block: InnerBlock): void
  push(input: Buffer, from: number, to: number): void
  end(): void
  /** Set while blocks are being decompressed; memory stays bounded when it is awaited between chunks. */
  pending(): Promise<void> | undefined
  /** Throws the first failure of a block, if one failed meanwhile. */
  check(): void
}

export function createInnerBlocks(method: 'zlib' | 'zstd'): InnerBlocks {
  const sharedStaging = createCopyStaging()
  const running = new Set<Promise<void>>()
  let gathered = Buffer.allocUnsafeSlow(gatherBytes)
  let fill = 0
  let block: InnerBlock | null = null
  let stream: Decompressor | null = null
  let finishStream: () => void = () => undefined
  let failure: Failure | undefined

  const fail = (of: InnerBlock, error: unknown) => {
    failure ??= error instanceof Failure ? error : malformed(`the compressed data of ${of.name} cannot be read: ${messageOf(error)}`, of.offset)
  }

  /** Where decompressed bytes of a block go, and what ends them. */
  const outlet = (of: InnerBlock, staging: CopyStaging) => {
    if (of.form === 'raw') return { take: (piece: Uint8Array) => of.target?.bytes(piece), finish: () => of.target?.end() }
    staging.begin(of.target)
    return {
      take: (piece: Uint8Array) => staging.append(asBuffer(piece), 0, piece.length),
      finish: () => {
        const problem = staging.finish()
        if (problem !== null) throw malformed(`table ${of.name}: ${problem}`, of.offset)
      },
    }
  }

  const openStream = (of: InnerBlock) => {
    const { take, finish } = outlet(of, createCopyStaging())
    stream = createDecompressor(method, take)
    finishStream = finish
  }

  const give = (of: InnerBlock) => {
    if (stream === null) openStream(of)
    stream?.push(gathered.subarray(0, fill))
    gathered = Buffer.allocUnsafeSlow(gatherBytes)
    fill = 0
  }

  const endStream = (of: InnerBlock, ending: Decompressor, finish: () => void) => {
    const done: Promise<void> = ending
      .end()
      .then(finish)
      .catch((error: unknown) => fail(of, error))
      .finally(() => running.delete(done))
    running.add(done)
  }

  const endSmall = (of: InnerBlock): boolean => {
    const whole = decompressSmall(method, gathered.subarray(0, fill))
    if (whole === undefined) return false
    const { take, finish } = outlet(of, sharedStaging)
    take(whole)
    finish()
    return true
  }

  return {
    begin: (next) => {
      block = next
      stream = null
      fill = 0
    },
    push: (input, from, to) => {
      for (let at = from; at < to;) {
        if (fill === gatherBytes && block !== null) give(block)
        const count = Math.min(to - at, gatherBytes - fill)
        input.copy(gathered, fill, at, at + count)
        fill += count
        at += count
      }
    },
    end: () => {
      const of = block
      if (of === null) return
      block = null
      try {
        if (stream === null && endSmall(of)) return
      } catch (error) {
        fail(of, error)
        return
      }
      if (fill > 0) give(of)
      if (stream !== null) endStream(of, stream, finishStream)
      stream = null
    },
    pending: () => {
      const waits = [...running]
      // A stream's failure is reported where its block ends; here it only must not be waited for.
      if (stream !== null) waits.push(stream.settled().catch(() => undefined))
      return waits.length === 0 ? undefined : Promise.all(waits).then(() => undefined)
    },
    check: () => {
      if (failure !== undefined) throw failure
    },
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
