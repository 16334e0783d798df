import { Failure } from '../kernel/failure.ts'
import { encodeTarHeader, tarEnd, tarPadding } from '../stream/tar-header.ts'
import { pathBytes, readablePath } from './file-path.ts'

/** A part of a file, or a directory: as `FilePiece` of the repository has it. */
export interface BaseTarPiece {
  readonly entry: { readonly path: string; readonly kind: 'file' | 'directory'; readonly mode: number; readonly sizeBytes: number }
  /** Of the bytes in the file. */
  readonly offset: number
  readonly bytes: Uint8Array
}

export interface BaseTarFormat {
  /** What is left off the paths: an archive of a tablespace, or of WAL, begins there. Ends in a slash, or is empty. */
  readonly prefix: string
  /** Seconds since 1970, for every entry. */
  readonly modifiedSeconds: number
}

/** As servers write: whoever unpacks as root gives the files to this account, where there is one. */
const owner = 'postgres'

/** The archive of a base backup, as a server sends it and `createBaseTarReader` reads it. A file's pieces come one after the other, from its beginning to its end; anything else is an `integrity` failure. */
export async function* formatBaseTar(
  pieces: AsyncIterable<BaseTarPiece>,
  { prefix, modifiedSeconds }: BaseTarFormat,
): AsyncGenerator<Uint8Array, void, undefined> {
  let open: { readonly path: string; readonly sizeBytes: number } | null = null
  let at = 0
  for await (const { entry, offset, bytes } of pieces) {
    const { path, kind, mode, sizeBytes } = entry
    if (open === null) {
      const name = pathBytes(path.slice(prefix.length) + (kind === 'directory' ? '/' : ''))
      yield encodeTarHeader({ path: name, type: kind === 'directory' ? '5' : '0', sizeBytes, mode, modifiedSeconds, owner })
      open = { path, sizeBytes }
      at = 0
    }
    if (path !== open.path || offset !== at) throw notInOrder(open.path)
    at += bytes.length
    if (bytes.length > 0) yield bytes
    if (at < sizeBytes) continue
    if (at > sizeBytes) throw notInOrder(path)
    if (tarPadding(sizeBytes) > 0) yield Buffer.alloc(tarPadding(sizeBytes))
    open = null
  }
  if (open !== null) throw notInOrder(open.path)
  yield tarEnd
}

function notInOrder(path: string): Failure {
  return new Failure('integrity', `the pages of ${readablePath(path)} are not those of one whole file`)
}
