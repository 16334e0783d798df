import { createServerManifestReader, type ManifestFile, type ManifestFrame } from '../../src/pgdata/server-manifest.ts'

export interface ServerManifest extends ManifestFrame {
  readonly files: readonly ManifestFile[]
}

/** A whole manifest, held in memory. */
export function parseServerManifest(bytes: Uint8Array): ServerManifest {
  const files: ManifestFile[] = []
  const reader = createServerManifestReader((file) => files.push(file))
  reader.write(bytes)
  return { ...reader.finish(), files }
}

/** A CRC-32C as manifests hold it: the four bytes as they lie in the memory of a little-endian server. */
export function crc32cHex(crc: number): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(crc)
  return bytes.toString('hex')
}
