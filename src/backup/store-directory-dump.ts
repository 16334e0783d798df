import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import type { Context } from '../kernel/context.ts'
import { localDumpFiles } from '../dump/directory-scan.ts'
import { readDirectoryDump } from '../dump/dump-reader.ts'
import { fingerprintSettings } from '../dump/pinned-settings.ts'
import type { StoredFile } from '../repository/manifest.ts'
import { makeStage } from '../repository/stage.ts'
import { requireStageSpace } from '../repository/stage-space.ts'
import { dumpInContainer } from './dump-in-container.ts'
import { dumpIntoDirectory, roomToBegin, withoutStaging, type DumpWork } from './run-pg-dump.ts'
import { createContent, type StoreTarget, type Targets } from './store-target.ts'
import { describeStored, type StoredContent, type StoredDump } from './stored-dump.ts'

/**
 * Directory dumps are written by several pg_dump workers at once, so they are staged on local disk (before that, in the container whose pg_dump
 * wrote them), read through, and then stored file by file.
 */
export async function storeDirectoryDump(work: DumpWork, targets: Targets, context: Context): Promise<StoredDump> {
  const { request, source } = work
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'dump', subject: source.facts.database, expectedBytes: source.facts.databaseBytes })
  await using stage = await makeStage(request.workDirectory, request.run, context)
  const bytes = roomToBegin(source.facts)
  await requireStageSpace(stage.path, { bytes, what: 'a directory dump of this database is staged there and may need', hints: withoutStaging })
  const directory = join(stage.path, 'dump')
  const access = source.dumpTool.container
  const stderrLines = access === null ? await dumpIntoDirectory(work, { directory }, context) : await dumpInContainer(access, work, directory, context)
  const local = localDumpFiles(directory)
  const content = await readDirectoryDump(local, {
    fingerprint: request.fingerprint,
    settings: fingerprintSettings,
    signal: context.signal,
    jobs: request.jobs,
  })

  const parts = new Map<StoreTarget, StoredFile[]>(targets.requireLiving().map((target) => [target, []]))
  const names = await local.list()
  for (const { name, sizeBytes } of names) {
    await targets.each(async (target) => {
      const key = target.keys.part(name)
      const content = createReadStream(join(directory, name), { highWaterMark: 1024 * 1024 })
      const stored = await createContent(target, key, content, { sizeBytes, signal: context.signal })
      parts.get(target)?.push({ key, role: 'part', ...stored })
    })
  }
  context.emit({
    type: 'step-ended',
    step: 'dump',
    subject: source.facts.database,
    durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
    doneBytes: content.sizeBytes,
    note: `${content.tables.length} tables, ${names.length} files`,
  })
  return {
    ...describeStored(content, { version: source.dumpTool.version, stderrLines }),
    in: (target) => describeParts(parts.get(target) ?? []),
  }
}

/** The digest is that of the list that `sha256sum *` prints in its folder. */
function describeParts(parts: readonly StoredFile[]): StoredContent {
  const files = parts.toSorted((a, b) => (a.key < b.key ? -1 : 1))
  const lines = files.map(({ key, sha256 }) => `${sha256}  ${key.split('/').at(-1) ?? key}\n`)
  return {
    storedBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    sha256: createHash('sha256').update(lines.join('')).digest('hex'),
    files,
  }
}
