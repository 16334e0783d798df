import { chmod, chown, lstat, mkdir, open, readdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { controlFilePath, parseControlFile } from '../../pgdata/control-file.ts'
import { pathBytes, pathFromBytes } from '../../pgdata/file-path.ts'
import { startMark } from '../../postgres/process-identity.ts'
import type { FileOwner } from './base-restore-request.ts'

/** While this file is there, the directory is half restored, and lacks `global/pg_control`: no server can start in it. */
export const markerName = 'tidemark-restore.json'

const markerSchema = z.object({ format: z.literal('tidemark-restore/1'), backup: z.string(), repository: z.string(), run: z.string() })
export type RestoreMarker = z.infer<typeof markerSchema>

/** What is at the place that a backup is to be restored to. */
export type TargetState =
  | { readonly kind: 'absent' | 'empty' }
  /** An interrupted restore. */
  | { readonly kind: 'half'; readonly marker: RestoreMarker }
  | { readonly kind: 'cluster'; readonly systemIdentifier: string | null; readonly runningPid: number | null }
  | { readonly kind: 'other'; readonly why: string }

/** Looks, and changes nothing. */
export async function lookAtTarget(directory: string): Promise<TargetState> {
  let names: readonly string[]
  try {
    names = await readdir(directory)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return { kind: 'absent' }
    if (systemCodeOf(error) === 'ENOTDIR') return { kind: 'other', why: 'it is no directory' }
    return { kind: 'other', why: messageOf(error) }
  }
  if (names.length === 0) return { kind: 'empty' }
  // With a marker and a cluster that can start, it was completed, all but for the marker's removal, and may have served since: it is no half restored one any more.
  if (names.includes(markerName) && !(await hasServed(directory))) {
    const marker = await readMarker(directory)
    return marker === null ? { kind: 'other', why: `its ${markerName} cannot be read` } : { kind: 'half', marker }
  }
  if (!names.includes('PG_VERSION'))
    return { kind: 'other', why: `it is not empty (${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}) and no data directory` }
  return { kind: 'cluster', systemIdentifier: await systemIdentifierIn(directory), runningPid: await runningServer(directory) }
}

/** Whether a server was started in it: the label of the backup is renamed then, by the first server that finds its pg_control. */
async function hasServed(directory: string): Promise<boolean> {
  if ((await runningServer(directory)) !== null) return true
  return (await isThere(join(directory, controlFilePath))) && !(await isThere(join(directory, 'backup_label')))
}

async function readMarker(directory: string): Promise<RestoreMarker | null> {
  try {
    return markerSchema.parse(JSON.parse(await readFile(join(directory, markerName), 'utf8')))
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) return null
    throw error
  }
}

async function systemIdentifierIn(directory: string): Promise<string | null> {
  try {
    return parseControlFile(await readFile(join(directory, controlFilePath))).systemIdentifier
  } catch {
    // Whatever is wrong with it: it does not say which cluster this is, and that is all that is asked.
    return null
  }
}

/** Writes the marker durably, and takes `pg_control` away: from here on the directory is half restored. */
export async function beginIn(directory: string, marker: RestoreMarker, owner: FileOwner | null): Promise<void> {
  await makeDirectory(Buffer.from(directory), owner, 0o700)
  const path = join(directory, markerName)
  await using file = await open(`${path}.new`, 'w', 0o600)
  await file.writeFile(`${JSON.stringify(marker)}\n`)
  await file.sync()
  await rename(`${path}.new`, path)
  await syncDirectory(directory)
  await rm(join(directory, controlFilePath), { force: true })
}

/** Makes a directory, and what is missing above it, which must let its owner through. What a link in its place leads to stays as it is. */
export async function makeDirectory(path: Buffer, owner: FileOwner | null, mode: number): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 })
  if (made === undefined && (await lstat(path)).isSymbolicLink()) return
  await chmod(path, mode & 0o777)
  if (owner === null) return
  await chown(path, owner.uid, owner.gid)
  if (made === undefined) return
  for (let above = dirname(pathFromBytes(path)); depthOf(above) >= depthOf(made); above = dirname(above)) await chown(pathBytes(above), owner.uid, owner.gid)
}

const depthOf = (path: string): number => path.split('/').filter((name) => name !== '').length

/** Rejects where nobody can tell. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error) ?? '')) return false
    throw error
  }
}

export async function syncDirectory(directory: string): Promise<void> {
  await using handle = await open(directory, 'r')
  await handle.sync()
}

/** Free bytes where a directory is, or would be. */
export async function freeBytesAt(directory: string): Promise<number | null> {
  for (let path = directory; ; path = dirname(path)) {
    // Whatever is wrong with it: what is made there lies in the file system of what is above it, or not at all.
    const found = await stat(path).catch(() => null)
    if (found !== null) {
      const { bavail, bsize } = await statfs(path)
      return bavail * bsize
    }
    if (path === dirname(path)) return null
  }
}

/** The process that the directory's `postmaster.pid` names, if it lives; null when no server can be running there. What cannot be understood counts as one. */
async function runningServer(directory: string): Promise<number | null> {
  let text: string
  try {
    text = await readFile(join(directory, 'postmaster.pid'), 'utf8')
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null
    throw error
  }
  const pid = Math.abs(Number.parseInt(text, 10))
  if (!Number.isSafeInteger(pid) || pid === 0) return -1
  return (await startMark(pid)) === null ? null : pid
}
