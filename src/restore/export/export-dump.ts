import { mkdir, open, rm, stat } from 'node:fs/promises'
import { basename, dirname, extname, join, relative } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure, isOutOfSpace, systemCodeOf } from '../../kernel/failure.ts'
import { decryptAge } from '../../seal/age.ts'
import { extensionOf, extensions, isSealedName, openedName } from '../../repository/layout.ts'
import type { Manifest, StoredFile } from '../../repository/manifest.ts'
import { filesOf, readOpened, requireOpenable } from '../../repository/stored-files.ts'
import { freeBytesAt, isThere, syncDirectory } from '../base/target-directory.ts'
import { claimDirectory, whyNotEmpty } from './claim-directory.ts'
import { claimFiles } from './claim-files.ts'
import { partialSuffix } from './claimed-place.ts'
import type { DumpExportRequest, Exported, ExportPlan } from './export-request.ts'
import { refuse } from './refuse.ts'

/**
 * Copies a dump out of the repository, as pg_dump wrote it and no longer sealed, with what lies beside it: the whole story. Every stored byte is held against its SHA-256 on the way; a failure
 * removes what was written.
 */
export async function exportDump(request: DumpExportRequest, context: Context): Promise<Exported> {
  const begunMs = context.clock.monotonicMs()
  const { repository, manifest } = request
  const place = await placeOf(request)
  const plan = await planDumpExport(request, place)
  if (request.dryRun) return { plan, result: null }
  refuse(plan)
  await requireOpenable(repository, manifest, context.signal)

  const { directory, tops } = place
  await using claim = await (place.isFile ? claimFiles(directory, tops, context) : claimDirectory(directory, [], context))
  const warnings = [...plan.warnings]
  context.emit({ type: 'step-begun', step: 'export', subject: plan.target, expectedBytes: plan.sizeBytes })
  let writtenBytes = 0
  const left = new Set<string>()
  for (const { file, path, top } of place.files) {
    const written = await copyOut(
      request,
      file,
      { path: join(directory, `${top}${partialSuffix}`, relative(top, path)), doneBytes: writtenBytes, expectedBytes: plan.sizeBytes },
      context,
    )
    if (written === null) {
      left.add(top)
      warnings.push(`${file.key}, which is for people, is gone`)
    } else writtenBytes += written
  }
  await syncDirectory(directory)
  context.signal.throwIfAborted()
  await claim.complete(tops.filter(({ name }) => !left.has(name)).map(({ name }) => ({ from: `${name}${partialSuffix}`, to: name })))

  const durationSeconds = (context.clock.monotonicMs() - begunMs) / 1_000
  context.emit({ type: 'step-ended', step: 'export', subject: plan.target, durationSeconds, doneBytes: writtenBytes })
  const outputs = await Promise.all(
    place.files
      .filter(({ top }) => !left.has(top))
      .map(async ({ path }) => ({ path: join(directory, path), sizeBytes: (await stat(join(directory, path))).size })),
  )
  return { plan, result: { target: plan.target, outputs, writtenBytes, check: null, warnings, durationSeconds } }
}

interface DumpPlace {
  /** Whether the target is the dump itself, not a directory for it. */
  readonly isFile: boolean
  readonly directory: string
  /** `path` is relative to the directory; `top` is its first part, under a temporary name until all is there. */
  readonly files: readonly { readonly file: StoredFile; readonly path: string; readonly top: string }[]
  readonly tops: readonly { readonly name: string; readonly isFolder: boolean }[]
}

/** Where the files go. A target whose name ends as the dump's own file does is that file, unless a directory is there. */
async function placeOf({ manifest, target }: DumpExportRequest): Promise<DumpPlace> {
  const stored = openedName(manifest.backup.fileName)
  const extension = extensionOf(stored) === '' ? extname(stored) : extensionOf(stored)
  const name = basename(target)
  const isDirectory = await isDirectoryAt(target)
  const isFile = !isDirectory && extension !== '' && name.endsWith(extension) && name !== extension
  const other = extensions.find((each) => each !== '.d' && name.endsWith(each))
  if (!isFile && !isDirectory && other !== undefined) {
    throw new Failure('usage-invalid', `the file of backup ${manifest.backup.id} ends in ${extension}, not in ${other}, and is copied as it is`, {
      hints: [`--to ${join(dirname(target), `${name.slice(0, -other.length)}${extension}`)}`, 'or name a directory'],
    })
  }
  const dump = isFile ? name : stored
  const stem = dump.slice(0, dump.length - extension.length)
  const files = manifest.files.flatMap((file) => {
    const path = pathOf(file, manifest, { dump, stem })
    return path === null ? [] : [{ file, path, top: path.split('/')[0] ?? path }]
  })
  const tops = [...new Set(files.map(({ top }) => top))].map((top) => ({ name: top, isFolder: files.some((each) => each.top === top && each.path !== top) }))
  return { isFile, directory: isFile ? dirname(target) : target, files, tops }
}

/** Null for a copy of what is copied already. */
function pathOf({ role, key }: StoredFile, { backup }: Manifest, { dump, stem }: { readonly dump: string; readonly stem: string }): string | null {
  switch (role) {
    case 'dump':
      return dump
    case 'info':
      return `${stem}.info`
    case 'globals':
      return `${stem}.globals.sql`
    case 'copy':
      return null
    case 'part': {
      const inner = openedName(relative(backup.key, key))
      if (!inner.startsWith('..')) return `${dump}/${inner}`
      throw new Failure('integrity', `the manifest of backup ${backup.id} names a part outside its folder: ${key}`, {
        details: { object: key, backup: backup.id },
      })
    }
  }
}

async function planDumpExport({ manifest, target, spaceCheck }: DumpExportRequest, { isFile, directory, files, tops }: DumpPlace): Promise<ExportPlan> {
  const { backup } = manifest
  const sizeBytes = files.reduce((sum, { file }) => sum + file.sizeBytes, 0)
  const freeBytes = await freeBytesAt(directory)
  const refusals: string[] = []
  if (isFile) {
    for (const { name } of tops) if (await isThere(join(directory, name))) refusals.push(`${join(directory, name)} is there, and is not overwritten`)
  } else {
    const why = await whyNotEmpty(directory)
    if (why !== null) refusals.push(why)
  }
  if (spaceCheck && freeBytes !== null && freeBytes < sizeBytes)
    refusals.push(`it needs ${sizeBytes} bytes, and ${freeBytes} are free (--no-space-check goes on all the same)`)
  const isSealed = files.some(({ file }) => isSealedName(file.key))
  return {
    action: 'export',
    backup: backup.id,
    cluster: backup.cluster,
    database: backup.database,
    takenAt: backup.endedAt,
    postgresVersion: backup.postgresVersion,
    target,
    format: 'native',
    compression: null,
    outputs: files.map(({ path }) => path),
    files: files.length,
    sizeBytes,
    neededBytes: sizeBytes,
    freeBytes,
    tablespaces: [],
    manifest: null,
    steps: [
      `copy ${files.length} files under temporary names, and hold every stored byte against its SHA-256`,
      ...(isSealed ? ['open their seals: what is written can be read by anybody who may read the file'] : []),
      'wait until everything is durable, then give the files their names',
    ],
    warnings: [...manifest.warnings, ...manifest.leftOut.map(({ what, why }) => `${what} is not in the backup: ${why}`)],
    refusals,
  }
}

/** Resolves with the bytes that were written; null for an `.info` that is not there any more, which nothing but people need. */
async function copyOut(
  { repository }: DumpExportRequest,
  file: StoredFile,
  { path, doneBytes, expectedBytes }: { readonly path: string; readonly doneBytes: number; readonly expectedBytes: number },
  { signal, emit, clock }: Context,
): Promise<number | null> {
  const stored = filesOf(repository)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await using output = await open(path, 'w', 0o600)
  let writtenBytes = 0
  let toldMs = clock.monotonicMs()
  try {
    // An .info may be edited by people, so nothing knows what it should be.
    const source = file.role === 'info' ? readUnchecked(stored, file, signal) : readOpened(stored, file, signal)
    for await (const chunk of source) {
      signal.throwIfAborted()
      await output.writeFile(chunk)
      writtenBytes += chunk.length
      if (clock.monotonicMs() - toldMs < 250) continue
      toldMs = clock.monotonicMs()
      emit({ type: 'step-progress', step: 'export', doneBytes: doneBytes + writtenBytes, expectedBytes })
    }
    await output.sync()
    await syncDirectory(dirname(path))
    return writtenBytes
  } catch (error) {
    if (file.role === 'info' && isFailure(error, 'object-missing')) {
      await rm(path)
      return null
    }
    if (!isOutOfSpace(error)) throw error
    throw new Failure('space-low', `there is no space left for ${path}; what was written is removed again`, { cause: error })
  }
}

function readUnchecked({ storage, keysOf }: ReturnType<typeof filesOf>, { key }: StoredFile, signal: AbortSignal): AsyncIterable<Uint8Array> {
  const bytes = storage.read(key, { signal })
  return isSealedName(key) ? decryptAge(bytes, keysOf(key)) : bytes
}

async function isDirectoryAt(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error) ?? '')) return false
    throw error
  }
}
