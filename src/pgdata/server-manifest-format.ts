import { createHash } from 'node:crypto'
import { pathBytes, utf8Text } from './file-path.ts'
import { formatLsn } from './lsn.ts'
import type { ManifestFile, ManifestFrame } from './server-manifest.ts'

/** The bytes of a `backup_manifest` that `pg_verifybackup` and `UPLOAD_MANIFEST` accept, line by line as a server writes it. */
export function* formatServerManifest(
  { version, systemIdentifier, walRanges }: ManifestFrame,
  files: Iterable<ManifestFile>,
): Generator<Buffer, void, undefined> {
  const hash = createHash('sha256')
  for (const text of content()) {
    const bytes = Buffer.from(text, 'utf8')
    hash.update(bytes)
    yield bytes
  }
  yield Buffer.from(`"Manifest-Checksum": "${hash.digest('hex')}"}\n`)

  function* content(): Generator<string, void, undefined> {
    if ((version === 2) !== (systemIdentifier !== null)) throw new TypeError('a manifest has a system identifier from version 2 on, and only then')
    yield `{ "PostgreSQL-Backup-Manifest-Version": ${version},\n`
    if (systemIdentifier !== null) yield `"System-Identifier": ${systemIdentifier},\n`
    yield '"Files": ['
    yield* separated(files, fileLine)
    yield '\n],\n"WAL-Ranges": ['
    yield* separated(
      walRanges,
      ({ timeline, startLsn, endLsn }) => `{ "Timeline": ${timeline}, "Start-LSN": "${formatLsn(startLsn)}", "End-LSN": "${formatLsn(endLsn)}" }`,
    )
    yield '\n],\n'
  }
}

function* separated<T>(items: Iterable<T>, format: (item: T) => string): Generator<string, void, undefined> {
  let separator = '\n'
  for (const item of items) {
    yield separator + format(item)
    separator = ',\n'
  }
}

function fileLine({ path, sizeBytes, lastModified, checksum }: ManifestFile): string {
  const bytes = pathBytes(path)
  const text = utf8Text(bytes)
  const named = text === null ? `"Encoded-Path": "${bytes.toString('hex')}"` : `"Path": ${JSON.stringify(text)}`
  const checked = checksum === null ? '' : `, "Checksum-Algorithm": "${checksum.algorithm}", "Checksum": "${checksum.hex}"`
  return `{ ${named}, "Size": ${sizeBytes}, "Last-Modified": ${JSON.stringify(lastModified)}${checked} }`
}
