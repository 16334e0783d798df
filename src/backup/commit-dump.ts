import { fileStamp } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import type { BackupFacts } from '../repository/backup.ts'
import { digestOf } from '../repository/commit-entry.ts'
import { manifestKey, stemOf } from '../repository/layout.ts'
import { encodeManifest, type DumpSource, type Manifest, type StoredFile } from '../repository/manifest.ts'
import { renderInfo } from './info-file.ts'
import type { LeftOut, Selection } from './left-out.ts'
import { createContent, createObject, type StoreTarget } from './store-target.ts'
import type { StoredDump } from './stored-dump.ts'

/** What all repositories are told of a dump; the rest is of the file that each has of it. */
export type CommonFacts = Omit<BackupFacts, 'key' | 'fileName' | 'storedBytes' | 'checksum' | 'encryption'>

export interface CommitRequest {
  readonly facts: CommonFacts
  readonly source: DumpSource
  readonly stored: StoredDump
  readonly leftOut: readonly LeftOut[]
  readonly warnings: readonly string[]
  readonly timeZone: string
  readonly selection: Selection
}

/** Copies of the tiered layout → `.info` → manifest → commit entry. The backup exists when this resolves, and not before the last step. */
export async function commitDump(target: StoreTarget, request: CommitRequest, context: Context): Promise<void> {
  const { repository, keys, lease } = target
  const stored = request.stored.in(target)
  const facts: BackupFacts = {
    ...request.facts,
    key: keys.dump,
    fileName: keys.fileName,
    storedBytes: stored.storedBytes,
    checksum: `sha256:${stored.sha256}`,
    encryption: target.sealer === null ? null : 'age',
  }
  const files: StoredFile[] = [...stored.files, ...target.companions]
  const dump = files.find((file) => file.role === 'dump')
  for (const copy of dump === undefined || facts.partial ? [] : keys.copies) {
    target.written.add(copy)
    const { sizeBytes } = await repository.storage.copy(keys.dump, copy, context)
    files.push({ key: copy, role: 'copy', sizeBytes, sha256: dump?.sha256 ?? '' })
  }

  const info = new TextEncoder().encode(
    renderInfo({
      backup: facts,
      source: request.source,
      timestamp: timestampOf(facts, request.timeZone),
      timeZone: request.timeZone,
      compressionLevel: facts.compression.split(':')[1] ?? '0',
      durationSeconds: Temporal.Instant.from(facts.endedAt).since(Temporal.Instant.from(facts.startedAt)).total('seconds'),
      snapshotLsn: facts.startLsn,
    }),
  )
  const { sizeBytes } = await createContent(target, keys.info, info, { sizeBytes: info.byteLength, contentType: 'application/json', signal: context.signal })
  files.push({ key: keys.info, role: 'info', sizeBytes, sha256: '' })

  const manifest: Manifest = {
    format: 'tidemark-manifest/1',
    repository: repository.id,
    cluster: facts.cluster,
    backup: facts,
    source: request.source,
    files,
    plainBytes: request.stored.plainBytes,
    blockOffsets: request.stored.blockOffsets.map(([dumpId, offset]) => [dumpId, offset]),
    fingerprint: request.stored.fingerprint,
    leftOut: [...request.leftOut],
    warnings: [...request.warnings],
    dumpTool: request.stored.dumpTool,
    selection: {
      ...request.selection,
      tables: [...request.selection.tables],
      schemas: [...request.selection.schemas],
      excludeTables: [...request.selection.excludeTables],
    },
  }
  const bytes = encodeManifest(manifest)
  const key = manifestKey(facts.cluster, facts.id)
  await createObject(target, key, bytes, { sizeBytes: bytes.byteLength, contentType: 'application/json', signal: context.signal })
  await lease.append({ kind: 'backup', epoch: lease.epoch, backup: facts, manifest: { key, sha256: digestOf(bytes) }, run: facts.id })
}

/** The time as the file name has it (`20260120_143000`), or as it would have it when the backup was given a name of its own. */
function timestampOf(facts: BackupFacts, timeZone: string): string {
  const inName = /\d{8}[_-]\d{6}/.exec(stemOf(facts.fileName))?.[0]
  return inName ?? fileStamp(Temporal.Instant.from(facts.startedAt).toZonedDateTimeISO(timeZone))
}
