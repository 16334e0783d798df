import { closeSync, openSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Failure, isFailure, messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { pathBytes, pathFromBytes } from '../../pgdata/file-path.ts'
import { findLocalDataDirectory } from '../../postgres/local-data-directory.ts'
import { ownUserId } from '../../postgres/process-identity.ts'
import type { Session } from '../../postgres/session.ts'
import type { BaseBackupRequest } from './base-request.ts'
import { readControlFile } from './control-bytes.ts'
import { openFlags } from './fetch-pieces.ts'
import { backupFunctions } from './low-level-backup.ts'
import type { BaseSource } from './open-base-source.ts'
import { sourceUnreadable } from './source-unreadable.ts'
import { listTablespaces, walkCluster, type WalkOptions } from './walk-cluster.ts'

/** Where the files of a server lie on this machine. */
export interface LocalCluster {
  /** The data directory: absolute, `latin1`. */
  readonly root: string
  readonly rules: WalkOptions['rules']
  readonly catalogVersion: number
  /** `RELSEG_SIZE`: pages in a segment file of a relation. */
  readonly segmentPages: number
}

/** Who reads the files of a backup: the server, which streams them, or we, where they lie on this machine. */
export type Reader = { readonly how: 'stream'; readonly why: string } | { readonly how: 'direct'; readonly local: LocalCluster }

/**
 * Reads the files directly where that is known to be right: the data directory here is that of this very server, we may read every file in it, and the role may begin and end a
 * backup. Rejects with `usage-invalid` where that was demanded and is not so.
 */
export async function chooseReader({ reader }: Pick<BaseBackupRequest, 'reader'>, source: Pick<BaseSource, 'session' | 'facts'>): Promise<Reader> {
  if (reader === 'stream') return { how: 'stream', why: 'that was asked for (--reader stream)' }
  const found = await findLocalCluster(source)
  if ('local' in found) return { how: 'direct', local: found.local }
  if (reader === 'auto') return { how: 'stream', why: found.why }
  throw new Failure('usage-invalid', `the files of the server cannot be read directly: ${found.why}`, {
    hints: ['let the server read them: tidemark backup --reader stream'],
  })
}

async function findLocalCluster({
  session,
  facts,
}: Pick<BaseSource, 'session' | 'facts'>): Promise<{ readonly local: LocalCluster } | { readonly why: string }> {
  const directory = await findLocalDataDirectory(session)
  if (directory.path === null) return { why: directory.why }
  const root = pathFromBytes(Buffer.from(directory.path))
  const mayNot = await whyNoBackupByHand(session, facts.major)
  if (mayNot !== null) return { why: mayNot }
  try {
    const { control } = await readControlFile(root)
    if (control.systemIdentifier !== facts.systemIdentifier) return { why: `${directory.path} here is the directory of another server` }
    const local = {
      root,
      rules: { major: facts.major, ...(await statisticsDirectory(session, directory.path)) },
      catalogVersion: control.catalogVersion,
      segmentPages: control.relationSegmentPages,
    }
    await requireReadable(local)
    return { local }
  } catch (error) {
    if (!isFailure(error, 'source-unreadable', 'integrity')) throw error
    return { why: messageOf(error) }
  }
}

async function whyNoBackupByHand(session: Session, major: number): Promise<string | null> {
  const { begin, end } = backupFunctions(major)
  const [row] = await session.query<{ may: boolean }>(
    `SELECT pg_catalog.has_function_privilege('pg_catalog.' || $1, 'EXECUTE') AND pg_catalog.has_function_privilege('pg_catalog.' || $2, 'EXECUTE') AS may`,
    [begin, end],
  )
  if (row?.may === true) return null
  return `role "${session.user}" may not begin a backup (GRANT EXECUTE ON FUNCTION ${begin}, ${end} TO it)`
}

/** Of 13 and 14, where it lies in the data directory. */
async function statisticsDirectory(session: Session, directory: string): Promise<{ readonly statsTempDirectory?: string }> {
  const [row] = await session.query<{ path: string }>(`SELECT setting AS path FROM pg_catalog.pg_settings WHERE name = 'stats_temp_directory'`)
  if (row === undefined) return {}
  const path = row.path.startsWith(`${directory}/`) ? row.path.slice(directory.length + 1) : row.path
  return path.startsWith('/') ? {} : { statsTempDirectory: pathFromBytes(Buffer.from(path.replace(/^\.\//, ''))) }
}

/**
 * Rejects where there is something that we may not read. Whoever owns the data directory, or is root and could open its control file, may read what the server may; where others were let in
 * (`initdb --allow-group-access`), somebody may have put files there that are the server's alone, so each is looked at.
 */
async function requireReadable(local: LocalCluster): Promise<void> {
  const { root } = local
  const tablespaces = await listTablespaces(root)
  // To look into a directory takes another right than to list it.
  for (const oid of tablespaces) requireReading(root, `pg_tblspc/${oid}/.`)
  const { uid } = await stat(pathBytes(root))
  const self = ownUserId()
  if (self === 0 || self === uid) return
  for await (const { kind, path } of walkCluster(root, { ...local, tablespaces })) if (kind === 'file') requireReading(root, path)
}

/** By trying: access(2) asks for the rights of another user where a program is setuid. */
function requireReading(root: string, path: string): void {
  try {
    closeSync(openSync(pathBytes(`${root}/${path}`), openFlags))
  } catch (error) {
    // Removed since it was found.
    if (systemCodeOf(error) !== 'ENOENT') throw sourceUnreadable(path, error)
  }
}
