import { Failure } from '../../kernel/failure.ts'
import { createBaseTarReader, type BaseTarReader, type TarEntry } from '../../pgdata/tar-reader.ts'
import type { ArchiveSink } from '../../postgres/replication/base-backup.ts'
import type { FileHead } from './file-part.ts'

/** Takes the files of the archives, one after the other. What returns a promise is waited for. */
export interface FileTaker {
  begin(head: FileHead): void | Promise<void>
  write(bytes: Uint8Array): void | Promise<void>
  end(): void | Promise<void>
  directory(path: string, mode: number): void
  /** Of a tablespace, or of the data directory. */
  archiveEnd?(): Promise<void>
}

export interface ArchiveReader {
  readonly sink: ArchiveSink
  /** The server's own manifest, whose length is known at its end only. */
  manifest(): Buffer
}

/** Takes the archives of BASE_BACKUP apart. `received` is told of every byte. */
export function createArchiveReader(
  files: FileTaker,
  { major, received }: { readonly major: number; readonly received: (bytes: number) => void },
): ArchiveReader {
  let reader: BaseTarReader | null = null
  let prefix = ''
  let open: TarEntry | null = null
  const manifest: Buffer[] = []
  const directories = new Set<string>()
  const directory = (path: string, mode: number): void => {
    if (directories.has(path)) return
    directories.add(path)
    files.directory(path, mode)
  }
  const begin = (): BaseTarReader =>
    createBaseTarReader(
      {
        entry: (header) => {
          open = header
          const path = `${prefix}${header.path}`
          if (header.kind === 'directory') directory(path, header.mode)
          else if (header.kind === 'symlink') throw new Failure('integrity', `the server sent a link, ${path}, where it sends none`)
          else return files.begin({ path, mode: header.mode, sizeBytes: header.sizeBytes })
          return undefined
        },
        body: (bytes) => files.write(bytes),
        end: () => (open?.kind === 'file' ? files.end() : undefined),
      },
      { endBlocks: major < 15 ? 'optional' : 'required' },
    )
  return {
    sink: {
      archive: (oid) => {
        prefix = oid === null ? '' : `pg_tblspc/${oid}/`
        reader = begin()
      },
      data: (bytes) => {
        received(bytes.length)
        return reader?.write(bytes)
      },
      archiveEnd: () => {
        reader?.finish()
        reader = null
        return files.archiveEnd?.()
      },
      manifest: (bytes) => void manifest.push(Buffer.from(bytes)),
    },
    manifest: () => Buffer.concat(manifest),
  }
}
