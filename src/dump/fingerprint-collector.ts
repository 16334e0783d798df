import { Blake3Hasher } from '@napi-rs/blake-hash'
import { createDigestSum } from './digest-sum.ts'
import { malformed } from './faults.ts'
import { fingerprintFormat, type ContentFingerprint, type DerivedObject, type NotCompared, type TableFingerprint } from './fingerprint.ts'
import { countNewlines } from './newlines.ts'
import type { ByteSink, DumpSink, SequenceValue, TableSection } from './sink.ts'
import { displayName } from './toc-content.ts'

export interface FingerprintCollector {
  /** Give this to a scanner. */
  readonly sink: DumpSink
  /** After the scanner's `end`: what the dump holds. */
  finish(rest: FingerprintRest): ContentFingerprint
}

/** What the collector cannot see in the rows: from the table of contents, or from the comments of plain SQL. */
export interface FingerprintRest {
  readonly encoding: string
  /** What pg_dump's session was pinned to; null when somebody else wrote the dump. */
  readonly settings: Readonly<Record<string, string>> | null
  readonly derived: readonly DerivedObject[]
}

interface TableTally {
  readonly section: TableSection
  readonly hasher: Blake3Hasher
  rows: number
  bytes: number
  isOpen: boolean
}

/** Takes the content fingerprint of a dump while a scanner reads it. */
export function createFingerprintCollector(): FingerprintCollector {
  const tables = new Map<string, TableTally>()
  const sequences: SequenceValue[] = []
  const notCompared: NotCompared[] = []
  const objects = createLargeObjectsTally()

  const tallyOf = (section: TableSection): TableTally | null => {
    const key = JSON.stringify([section.schema, section.name])
    const known = tables.get(key)
    if (known === undefined) {
      const fresh = { section, hasher: new Blake3Hasher(), rows: 0, bytes: 0, isOpen: true }
      tables.set(key, fresh)
      return fresh
    }
    // A second COPY into the same table (plain SQL, or partitions loaded through their root) goes on where the first ended.
    if (known.isOpen) throw malformed(`table ${displayName(section)} is in it twice`, 0)
    if (JSON.stringify(known.section.columns) !== JSON.stringify(section.columns)) {
      notCompared.push({ what: displayName(section), why: 'its rows come in several parts with different columns' })
      return null
    }
    known.isOpen = true
    return known
  }

  return {
    sink: {
      table: (section) => {
        const tally = tallyOf(section)
        return tally === null ? null : rowSink(tally)
      },
      largeObject: objects.begin,
      sequence: (value) => sequences.push(value),
      notCompared: (what, why) => notCompared.push({ what, why }),
    },
    finish: (rest) => ({
      format: fingerprintFormat,
      encoding: rest.encoding,
      settings: rest.settings,
      tables: [...tables.values()].map(tableFingerprint),
      largeObjects: objects.result(),
      sequences,
      derived: rest.derived,
      notCompared,
    }),
  }
}

function rowSink(tally: TableTally): ByteSink {
  return {
    bytes: (piece) => {
      tally.hasher.update(piece)
      tally.rows += countNewlines(piece)
      tally.bytes += piece.length
    },
    end: () => {
      tally.isOpen = false
    },
  }
}

function tableFingerprint({ section, hasher, rows, bytes }: TableTally): TableFingerprint {
  const { schema, name, columns, viaRoot } = section
  return { schema, name, columns, rows, bytes, digest: hasher.digest('hex'), viaRoot }
}

/** Counts and digests large objects, in whatever order they come; several may be open at a time. */
export function createLargeObjectsTally(): { begin(oid: number): ByteSink; result(): { count: number; bytes: number; digest: string } } {
  const sum = createDigestSum()
  let count = 0
  let totalBytes = 0
  return {
    begin: (oid) => {
      const content = new Blake3Hasher()
      let length = 0
      return {
        bytes: (piece) => {
          content.update(piece)
          length += piece.length
        },
        end: () => {
          const head = Buffer.alloc(12)
          head.writeUInt32LE(oid)
          head.writeBigUInt64LE(BigInt(length), 4)
          sum.add(new Blake3Hasher().update(head).update(content.digestBuffer()).digestBuffer())
          count += 1
          totalBytes += length
        },
      }
    },
    result: () => ({ count, bytes: totalBytes, digest: sum.hex() }),
  }
}
