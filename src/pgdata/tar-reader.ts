import { Failure } from '../kernel/failure.ts'
import { BrokenTar, readTarHeader, tarBlockBytes, tarPadding } from '../stream/tar-header.ts'
import { isInnerPath, pathFromBytes, readablePath, utf8Text } from './file-path.ts'

export interface TarEntry {
  /** Relative to the data directory (or to the tablespace), `/` between segments, none of them empty, `.` or `..`; see `file-path.ts`. */
  readonly path: string
  readonly kind: 'file' | 'directory' | 'symlink'
  /** Length of the body; 0 for directories and links. */
  readonly sizeBytes: number
  /** Permission bits. */
  readonly mode: number
  /** Where a link points, in UTF-8; null for the others. */
  readonly linkTarget: string | null
}

/** Every entry is told by one `entry`, any number of `body` and one `end`, also when it is empty. */
export interface BaseTarSink {
  entry(header: TarEntry): void | Promise<void>
  /** A slice of the chunk written, not a copy: it is the sink's until the call returns or its promise resolves. */
  body(bytes: Buffer): void | Promise<void>
  end(): void | Promise<void>
}

export interface BaseTarReader {
  /**
   * Takes the next bytes of the stream, cut anywhere. Returns a promise only where the sink did; no further call before it resolved.
   * Throws `integrity` when this is no tar of a base backup.
   */
  write(chunk: Buffer): void | Promise<void>
  /** Throws `integrity` when the stream was cut. */
  finish(): void
}

export interface BaseTarOptions {
  /**
   * Servers from 15 on end an archive with two blocks of zeros, and without them it was cut. 13 and 14 leave them to the client: there
   * only the protocol's own end says that it is whole.
   */
  readonly endBlocks?: 'required' | 'optional'
}

/** Reads one archive of BASE_BACKUP as it comes in: files, directories and the links in `pg_tblspc`. Anything else is refused. */
export function createBaseTarReader(sink: BaseTarSink, { endBlocks = 'required' }: BaseTarOptions = {}): BaseTarReader {
  const block = Buffer.alloc(tarBlockBytes)
  const links = new Set<string>()
  let blockBytes = 0
  let zeroBlocks = 0
  let entryIsOpen = false
  let bodyLeft = 0
  let paddingLeft = 0
  let isBusy = false

  function consume(chunk: Buffer, from: number): void | Promise<void> {
    let offset = from
    while (offset < chunk.length || (entryIsOpen && bodyLeft === 0)) {
      let waiting: void | Promise<void> = undefined
      if (entryIsOpen && bodyLeft === 0) {
        entryIsOpen = false
        waiting = sink.end()
      } else if (entryIsOpen) {
        const piece = chunk.subarray(offset, offset + bodyLeft)
        offset += piece.length
        bodyLeft -= piece.length
        waiting = sink.body(piece)
      } else if (paddingLeft > 0) {
        const skipped = Math.min(paddingLeft, chunk.length - offset)
        offset += skipped
        paddingLeft -= skipped
      } else {
        const copied = chunk.copy(block, blockBytes, offset)
        offset += copied
        blockBytes += copied
        if (blockBytes === tarBlockBytes) waiting = takeBlock()
      }
      if (waiting !== undefined) return waiting.then(() => consume(chunk, offset))
    }
  }

  function takeBlock(): void | Promise<void> {
    blockBytes = 0
    if (isZero(block)) {
      zeroBlocks += 1
      return undefined
    }
    if (zeroBlocks > 0) throw broken('there is something after its end')
    const header = entryOf(block)
    if (links.has(header.path.split('/', 2).join('/'))) throw broken(`${readablePath(header.path)} lies behind a link or replaces one`)
    if (header.kind === 'symlink') links.add(header.path)
    entryIsOpen = true
    bodyLeft = header.sizeBytes
    paddingLeft = tarPadding(header.sizeBytes)
    return sink.entry(header)
  }

  return {
    write(chunk) {
      if (isBusy) throw new Error('bytes were written before the sink had taken the last ones')
      const waiting = consume(chunk, 0)
      if (waiting === undefined) return
      isBusy = true
      return waiting.finally(() => (isBusy = false))
    },
    finish() {
      if (isBusy) throw new Error('the archive was finished before the sink had taken its last bytes')
      if (entryIsOpen || paddingLeft > 0 || blockBytes > 0) throw broken('it ends in the middle of an entry')
      const isWhole = zeroBlocks >= 2 || (zeroBlocks === 0 && endBlocks === 'optional')
      if (!isWhole) throw broken('its end is missing')
    },
  }
}

function entryOf(block: Buffer): TarEntry {
  const { path: pathBytes, type, sizeBytes, mode, linkTarget } = headerOf(block)
  const kind = kinds.get(type)
  const whole = pathFromBytes(pathBytes)
  if (kind === undefined) throw broken(`${readablePath(whole)} is neither a file nor a directory nor a symbolic link (type ${JSON.stringify(type)})`)
  // PostgreSQL ends the names of directories, and of links to them, with a slash.
  const path = (kind === 'file' ? whole : whole.replace(/\/$/, '')).replace(/^\.\//, '')
  if (!isInnerPath(path)) throw broken(`it holds a path that leads outside or is none: ${JSON.stringify(readablePath(whole))}`)
  if (kind !== 'file' && sizeBytes !== 0) throw broken(`${readablePath(path)} is no file and has content`)
  if (kind !== 'symlink') return { path, kind, sizeBytes, mode, linkTarget: null }
  if (!/^pg_tblspc\/[1-9]\d*$/.test(path)) throw broken(`${readablePath(path)} is a link, and only tablespaces may be links`)
  const target = utf8Text(linkTarget)
  if (target === null || target === '') throw broken(`nobody can tell where the link ${path} points`)
  return { path, kind, sizeBytes, mode, linkTarget: target }
}

const kinds: ReadonlyMap<string, TarEntry['kind']> = new Map([
  ['0', 'file'],
  ['5', 'directory'],
  ['2', 'symlink'],
])

function headerOf(block: Buffer): ReturnType<typeof readTarHeader> {
  try {
    return readTarHeader(block)
  } catch (error) {
    throw error instanceof BrokenTar ? failed(error) : error
  }
}

function isZero(block: Buffer): boolean {
  for (let index = 0; index < block.length; index += 1) if (block[index] !== 0) return false
  return true
}

function broken(why: string): Failure {
  return failed(new BrokenTar(why))
}

function failed(cause: BrokenTar): Failure {
  return new Failure('integrity', `cannot read the base backup that the server sends: ${cause.message}`, { cause })
}
