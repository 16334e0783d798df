import { open, readdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileType, fileTypeBytes } from '../dump/file-type.ts'
import { systemCodeOf } from '../kernel/failure.ts'
import { findServerSpace } from '../postgres/server-space.ts'
import { freeBytesAt, workDirectoryHint } from '../repository/stage-space.ts'
import type { PlannedSpace, RestorePlan } from './restore-plan.ts'
import type { RestoreRequest, RestoreServer } from './restore-request.ts'
import { stagingSpareBytes, unpackedBytes } from './staged-dump.ts'

type Existing = { readonly name: string; readonly sizeBytes: number | null } | null

/** Room for the restored database where the server keeps it. What it needs is what the source took, of which dead rows may have been a part. */
export async function planServerSpace(
  server: RestoreServer,
  request: RestoreRequest,
  { action, existing }: { action: RestorePlan['action']; existing: Existing },
): Promise<PlannedSpace> {
  const needed = neededOnServer(request, action)
  const dropsFirst = existing !== null && (action === 'drop-and-create' || action === 'drop-and-restore' || action === 'replace-own-test')
  // A new database is made from template0, and so lies where that does.
  const at = await findServerSpace(server.reached, action === 'use-empty' || action === 'into-existing' ? request.goal.name : 'template0')
  const dropped = dropsFirst ? await findServerSpace(server.reached, existing.name) : null
  const freed = dropped === null ? 0 : dropped.tablespace === at.tablespace ? (existing?.sizeBytes ?? null) : null
  return {
    neededBytes: typeof needed === 'number' ? needed : null,
    freeBytes: at.freeBytes,
    freedBytes: freed,
    path: at.freeBytes === null ? null : at.path,
    unknown: [...(typeof needed === 'number' ? [] : [needed]), ...(at.freeBytes === null ? [at.why] : [])].join('; ') || null,
  }
}

/** Bytes, or why they are not known. */
function neededOnServer({ manifest, tables, file }: RestoreRequest, action: RestorePlan['action']): number | string {
  if (manifest === null) return `${file ?? 'the file'} does not say how large its database was`
  if (tables.length > 0 || manifest.backup.partial) return 'how much a part of a database needs is not known'
  if (action === 'into-existing') return 'how much of what is there is replaced is not known'
  const { source } = manifest
  if (source === null || source.databaseBytes === null) return 'this backup does not say how large its database was'
  if (source.tablespaces.length > 0) return `how much of it lies in tablespace ${source.tablespaces.join(', ')} is not known`
  return source.databaseBytes
}

/** Room for the dump in the work directory, where it lies unpacked while it is loaded. */
export async function planStagingSpace(request: RestoreRequest): Promise<PlannedSpace> {
  const dumpBytes = await dumpBytesOf(request)
  // Other roles are written into a second copy, and the first goes then; of a directory dump only into its table of contents.
  const bytes = dumpBytes !== null && request.roleMap.size > 0 && request.manifest?.backup.format !== 'directory' ? dumpBytes * 2 : dumpBytes
  return {
    neededBytes: bytes === null ? null : bytes + stagingSpareBytes,
    freeBytes: await freeBytesAt(await existingAncestor(request.workDirectory)),
    freedBytes: 0,
    path: request.workDirectory,
    unknown: bytes === null ? `how large ${request.file ?? 'the dump'} is when it is unpacked is not known` : null,
  }
}

async function dumpBytesOf({ manifest, file }: RestoreRequest): Promise<number | null> {
  if (manifest !== null) return unpackedBytes(manifest)
  if (file === null) return null
  try {
    if ((await stat(file)).isDirectory()) {
      const sizes = await Promise.all((await readdir(file)).map(async (name) => (await stat(join(file, name))).size))
      return sizes.reduce((sum, size) => sum + size, 0)
    }
    await using handle = await open(file)
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(fileTypeBytes), 0, fileTypeBytes, 0)
    // Neither is packed; of a packed file only the reading tells.
    return ['custom', 'plain'].includes(fileType(buffer.subarray(0, bytesRead))) ? (await handle.stat()).size : null
  } catch (error) {
    // That it is not there or may not be read is said by the one who reads it.
    if (systemCodeOf(error) === undefined) throw error
    return null
  }
}

/** The work directory is made when it is needed. */
async function existingAncestor(path: string): Promise<string> {
  try {
    await stat(path)
    return path
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT' || dirname(path) === path) throw error
    return existingAncestor(dirname(path))
  }
}

export type SpaceVerdict = { readonly kind: 'enough' | 'tight' | 'unknown' } | { readonly kind: 'missing'; readonly missingBytes: number }

/** `tight`: less than a tenth of what is needed would be left. */
export function judgeSpace({ neededBytes, freeBytes, freedBytes }: PlannedSpace): SpaceVerdict {
  if (neededBytes === null || freeBytes === null || freedBytes === null) return { kind: 'unknown' }
  const left = freeBytes + freedBytes - neededBytes
  if (left < 0) return { kind: 'missing', missingBytes: -left }
  return { kind: left < neededBytes / 10 ? 'tight' : 'enough' }
}

/** What the plan has to say about space: reasons not to begin, and warnings. */
export function spaceProblems(
  plan: { readonly serverSpace: PlannedSpace; readonly stagingSpace: PlannedSpace; readonly action: RestorePlan['action']; readonly existing: Existing },
  isOverruled: boolean,
): { readonly refusals: readonly string[]; readonly warnings: readonly string[] } {
  const refusals: string[] = []
  const warnings: string[] = []
  const { serverSpace, stagingSpace, action, existing } = plan
  const onServer = judgeSpace(serverSpace)
  if (onServer.kind === 'missing')
    (isOverruled ? warnings : refusals).push(missingOnServer(serverSpace, onServer.missingBytes, action === 'swap' ? existing : null))
  if (onServer.kind === 'tight')
    warnings.push(
      `room on the server is tight: the source took ${sizeText(serverSpace.neededBytes)}, and ${sizeText((serverSpace.freeBytes ?? 0) + (serverSpace.freedBytes ?? 0))} will be free in ${serverSpace.path ?? ''}; write-ahead log comes on top`,
    )
  const staged = judgeSpace(stagingSpace)
  if (staged.kind === 'missing')
    refusals.push(
      `the work directory ${stagingSpace.path ?? ''} has ${sizeText(stagingSpace.freeBytes)} free, and the unpacked dump needs ${sizeText(stagingSpace.neededBytes)}: ${workDirectoryHint}`,
    )
  return { refusals, warnings }
}

function missingOnServer(space: PlannedSpace, missingBytes: number, replaced: Existing): string {
  const free = `${sizeText(space.freeBytes)} free in ${space.path ?? ''}${space.freedBytes === 0 ? '' : ` and ${sizeText(space.freedBytes)} that are dropped first`}`
  const facts = `the source took ${sizeText(space.neededBytes)}, and there are ${free}: ${sizeText(missingBytes)} are missing`
  const overrule = 'if much of the source was dead rows and it does fit: --no-space-check'
  if (replaced === null) return `there is no room for the restored database on the server: ${facts}; ${overrule}`
  const fitsAlone = replaced.sizeBytes !== null && replaced.sizeBytes >= missingBytes
  const way = fitsAlone
    ? `drop "${replaced.name}" first, after a verified safety backup: --replace=drop`
    : `and dropping "${replaced.name}" first would not be enough`
  return `there is no room for both databases on the server: ${facts}; ${way}; ${overrule}`
}

/** With one decimal, in GiB from 1 GiB on and else in MiB. */
function sizeText(bytes: number | null): string {
  if (bytes === null) return 'an unknown amount'
  return bytes >= 1024 ** 3 ? `${(bytes / 1024 ** 3).toFixed(1)} GiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`
}
