import { open, type FileHandle } from 'node:fs/promises'
import { formatServerManifest } from '../../pgdata/server-manifest-format.ts'
import type { ManifestFile, ManifestFrame } from '../../pgdata/server-manifest.ts'
import { parseLsn } from '../../pgdata/lsn.ts'
import type { BaseRoot } from '../../repository/base/base-root.ts'

/** A file as it was exported. */
export interface HashedFile {
  readonly path: string
  readonly sizeBytes: number
  /** Hexadecimal. */
  readonly sha256: string
}

/** A manifest as the server of this backup would have begun and ended it. */
export function frameOf({ server }: BaseRoot): ManifestFrame {
  const isNew = server.major >= 17
  return {
    version: isNew ? 2 : 1,
    systemIdentifier: isNew ? server.systemIdentifier : null,
    walRanges: [{ timeline: server.timeline, startLsn: parseLsn(server.startLsn), endLsn: parseLsn(server.stopLsn) }],
  }
}

/** Times of files are not in a backup; that of its end stands for them. */
export function* listHashed({ backup }: BaseRoot, files: Iterable<HashedFile>): Generator<ManifestFile, void, undefined> {
  const lastModified = `${backup.endedAt.slice(0, 19).replace('T', ' ')} GMT`
  for (const { path, sizeBytes, sha256 } of files) yield { path, sizeBytes, lastModified, checksum: { algorithm: 'SHA256', hex: sha256 } }
}

/** Writes a manifest to a new file, durably. Resolves with its size. */
export async function writeManifest(path: string, frame: ManifestFrame, files: Iterable<ManifestFile>): Promise<number> {
  await using file = await open(path, 'wx', 0o600)
  let sizeBytes = 0
  let waiting: Buffer[] = []
  let waitingBytes = 0
  for (const piece of formatServerManifest(frame, files)) {
    waiting.push(piece)
    waitingBytes += piece.length
    sizeBytes += piece.length
    if (waitingBytes < pieceBytes) continue
    await writeAll(file, waiting)
    waiting = []
    waitingBytes = 0
  }
  await writeAll(file, waiting)
  await file.sync()
  return sizeBytes
}

const pieceBytes = 1 << 20

async function writeAll(file: FileHandle, pieces: readonly Buffer[]): Promise<void> {
  await file.writeFile(Buffer.concat(pieces))
}
