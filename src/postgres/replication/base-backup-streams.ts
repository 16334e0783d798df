import type { CommandSink } from './command-sink.ts'
import { FieldReader, protocolFailure } from './message-fields.ts'

/** One of the places whose files a base backup holds. */
export interface BackupTablespace {
  /** Null: the data directory itself. */
  readonly oid: number | null
  /** On the server; null for the data directory. */
  readonly path: string | null
  /** As the server estimates; null without `progress`. */
  readonly sizeBytes: number | null
}

/** Where the streams of a base backup go. Bytes are valid until the call, or the promise it returned, is over; a promise holds the server up. */
export interface ArchiveSink {
  /** A tar file begins: one per tablespace, the data directory's last. */
  archive(oid: number | null, path: string | null): void | Promise<void>
  /** Of the tar file. Up to 14 the server leaves out the two blocks of zeros at its end. */
  data(bytes: Buffer): void | Promise<void>
  archiveEnd(): void | Promise<void>
  /** Of the server's manifest, after all archives. */
  manifest(bytes: Buffer): void | Promise<void>
}

/** What the streams must be: one archive per tablespace in this order, then the manifest. */
export class ArchiveSequence {
  readonly #tablespaces: readonly BackupTablespace[]
  readonly #wantsManifest: boolean
  readonly #sink: ArchiveSink
  #begun = 0
  #open: 'archive' | 'manifest' | null = null
  #hasManifest = false

  constructor(tablespaces: readonly BackupTablespace[], wantsManifest: boolean, sink: ArchiveSink) {
    this.#tablespaces = tablespaces
    this.#wantsManifest = wantsManifest
    this.#sink = sink
  }

  /** Whose archive comes next; undefined when all have begun. */
  get upcoming(): BackupTablespace | undefined {
    return this.#tablespaces[this.#begun]
  }

  get complete(): boolean {
    return this.upcoming === undefined && this.#open === null && this.#hasManifest === this.#wantsManifest
  }

  async beginArchive(): Promise<void> {
    await this.end()
    const tablespace = this.upcoming
    if (tablespace === undefined || this.#hasManifest) throw protocolFailure('more archives than there are tablespaces')
    this.#begun += 1
    this.#open = 'archive'
    await this.#sink.archive(tablespace.oid, tablespace.path)
  }

  async beginManifest(): Promise<void> {
    await this.end()
    if (this.upcoming !== undefined || this.#hasManifest || !this.#wantsManifest) throw protocolFailure('a manifest where none belongs')
    this.#hasManifest = true
    this.#open = 'manifest'
  }

  bytes(bytes: Buffer): void | Promise<void> {
    if (bytes.length === 0) return
    if (this.#open === 'archive') return this.#sink.data(bytes)
    if (this.#open === 'manifest') return this.#sink.manifest(bytes)
    throw protocolFailure('data of no archive')
  }

  async end(): Promise<void> {
    const ended = this.#open
    this.#open = null
    if (ended === 'archive') await this.#sink.archiveEnd()
  }
}

type CopySink = Required<Pick<CommandSink, 'copyOut' | 'copyData' | 'copyDone'>>

/** 13 and 14: one stream per archive and one for the manifest. They are told apart by their number, for their bytes may look like anything. */
export function numberedStreams(sequence: ArchiveSequence): CopySink {
  return {
    copyOut: () => (sequence.upcoming === undefined ? sequence.beginManifest() : sequence.beginArchive()),
    copyData: (piece) => sequence.bytes(piece),
    copyDone: () => sequence.end(),
  }
}

/** A kind, a file name and a path (MAXPGPATH is 1024). */
const longestControl = 4096

/** 15 and newer: one stream, whose messages begin with their kind (documentation, "Streaming Replication Protocol", BASE_BACKUP). */
export function typedMessages(sequence: ArchiveSequence): CopySink {
  let isData = false
  /** What came of a message that is not data. */
  let control = Buffer.alloc(0)

  async function obey(message: Buffer): Promise<void> {
    const reader = new FieldReader(message)
    const kind = reader.bytes(1).toString('latin1')
    // Progress: bytes so far, which we count ourselves.
    if (kind === 'p') return
    if (kind === 'm') return sequence.beginManifest()
    if (kind !== 'n') throw protocolFailure(`a message of kind "${kind}" in a base backup`)
    const name = reader.text()
    const upcoming = sequence.upcoming
    if (upcoming !== undefined && name !== `${upcoming.oid ?? 'base'}.tar`)
      throw protocolFailure(`the archive "${name}" where that of another tablespace belongs`)
    return sequence.beginArchive()
  }

  return {
    copyOut: () => undefined,
    copyData: (piece, first, last) => {
      if (first) isData = piece[0] === 0x64
      if (isData) return sequence.bytes(first ? piece.subarray(1) : piece)
      if (control.length + piece.length > longestControl) throw protocolFailure('a message in a base backup that is neither data nor short')
      control = Buffer.concat([control, piece])
      if (!last) return undefined
      const message = control
      control = Buffer.alloc(0)
      return obey(message)
    },
    copyDone: () => sequence.end(),
  }
}
