import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import { localDumpFiles } from '../dump/directory-scan.ts'
import { readDirectoryDump } from '../dump/dump-reader.ts'
import { fingerprintSettings } from '../dump/pinned-settings.ts'
import { startClient } from '../postgres/client-process.ts'
import { qualifiedName } from '../postgres/identifiers.ts'
import type { StoredFile } from '../repository/manifest.ts'
import { makeStage } from '../repository/stage.ts'
import { Tally } from '../stream/tally.ts'
import { dumpInContainer } from './dump-in-container.ts'
import type { DumpRequest } from './dump-request.ts'
import type { Compression } from './file-names.ts'
import type { OpenSource } from './open-source.ts'
import { pgDumpArguments, pgDumpSettings } from './pg-dump-arguments.ts'
import { createObject, type Targets } from './store-target.ts'
import type { StoredDump } from './stored-dump.ts'

/** Directory dumps are written by several pg_dump workers at once, so they are staged on local disk (before that, in the container whose pg_dump wrote them), read through, and then stored file by file. */
export async function storeDirectoryDump(
  request: DumpRequest,
  source: OpenSource,
  compression: Compression,
  targets: Targets,
  context: Context,
): Promise<StoredDump> {
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'dump', subject: source.facts.database, expectedBytes: source.facts.databaseBytes })
  await using stage = await makeStage(request.workDirectory, request.run, context)
  await requireStagingSpace(stage.path, source.facts.databaseBytes ?? 0)
  const directory = join(stage.path, 'dump')
  const dump = { request, source, compression, directory }
  const access = source.dumpTool.container
  const stderrLines = access === null ? await dumpHere(dump, context) : await dumpInContainer(access, dump, context)
  const local = localDumpFiles(directory)
  const content = await readDirectoryDump(local, {
    fingerprint: request.fingerprint,
    settings: fingerprintSettings,
    signal: context.signal,
    jobs: request.jobs,
  })

  const stored = new Map<string, { sizeBytes: number; sha256: string }>()
  for (const { name, sizeBytes } of await local.list()) {
    await targets.each(async (target) => {
      const tally = new Tally()
      await createObject(target, `${target.keys.dump}/${name}`, tally.through(createReadStream(join(directory, name), { highWaterMark: 1024 * 1024 })), {
        sizeBytes,
        signal: context.signal,
      })
      stored.set(name, { sizeBytes: tally.sizeBytes, sha256: tally.sha256() })
    })
  }
  const names = [...stored.keys()].toSorted()
  const list = names.map((name) => `${stored.get(name)?.sha256 ?? ''}  ${name}\n`).join('')
  context.emit({
    type: 'step-ended',
    step: 'dump',
    subject: source.facts.database,
    durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
    doneBytes: content.sizeBytes,
    note: `${content.tables.length} tables, ${names.length} files`,
  })
  return {
    plainBytes: content.sizeBytes,
    blockOffsets: content.blockOffsets,
    storedBytes: [...stored.values()].reduce((sum, file) => sum + file.sizeBytes, 0),
    sha256: createHash('sha256').update(list).digest('hex'),
    fingerprint: content.fingerprint,
    dumpedTables: new Set(content.tables.map(({ schema, name }) => qualifiedName(schema, name))),
    tables: [...content.tables],
    warnings: stderrLines.filter((line) => line.trim() !== ''),
    dumpTool: `pg_dump ${source.dumpTool.version}`,
    filesIn: (target): readonly StoredFile[] =>
      names.map((name) => ({
        key: `${target.keys.dump}/${name}`,
        role: 'part',
        sizeBytes: stored.get(name)?.sizeBytes ?? 0,
        sha256: stored.get(name)?.sha256 ?? '',
      })),
  }
}

/** Runs pg_dump on this host; it makes the directory. */
async function dumpHere(
  { request, source, compression, directory }: { request: DumpRequest; source: OpenSource; compression: Compression; directory: string },
  context: Context,
): Promise<readonly string[]> {
  await using pgDump = await startClient(
    source.dumpTool,
    pgDumpArguments({ ...request, compression, snapshot: source.snapshot, directory, toolMajor: source.dumpTool.major, encoding: source.facts.encoding }),
    source.target,
    {
      applicationName: 'tidemark pg_dump',
      database: request.database,
      settings: pgDumpSettings,
      signal: context.signal,
      emit: context.emit,
    },
  )
  pgDump.stdout.resume()
  await pgDump.requireSuccess()
  return pgDump.stderrLines
}

/** Refuses (space-low) when the work directory's file system has less free space than half the database takes. */
async function requireStagingSpace(stage: string, databaseBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(stage)
  // A compressed directory dump is mostly a quarter of its database; half is room enough to be worth beginning.
  if (bavail * bsize >= databaseBytes / 2) return
  throw new Failure(
    'space-low',
    `the work directory ${dirname(stage)} has ${Math.floor((bavail * bsize) / 1048576)} MiB free; a directory dump of this database is staged there and may need ${Math.ceil(databaseBytes / 2097152)} MiB`,
    {
      hints: ['use --format custom, which needs no staging', 'or choose another with TIDEMARK_WORK_DIR=/path/with/space'],
    },
  )
}
