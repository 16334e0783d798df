import { readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Failure, systemCodeOf } from '../kernel/failure.ts'

export interface ServerOwned {
  readonly path: string
  readonly kind: 'data directory' | 'tablespace'
}

/**
 * The data directory or tablespace of a PostgreSQL server around `path` (or that `path` is), or null. Told by what lies there, so no server
 * is asked and it works for servers in containers whose files are mounted here. `path` need not exist yet.
 */
export async function findEnclosingServer(path: string): Promise<ServerOwned | null> {
  let current = await realPathOfExisting(path)
  for (;;) {
    if ((await exists(join(current, 'PG_VERSION'))) && (await exists(join(current, 'global')))) return { path: current, kind: 'data directory' }
    if (await isTablespace(current)) return { path: current, kind: 'tablespace' }
    const parent = dirname(current)
    if (parent === current) return null
    current = parent
  }
}

/** Ruling 16: backups inside the data directory die with it, are copied by base backups, and may be taken for the server's own files. */
export async function requireOutsideServers(path: string): Promise<void> {
  const owner = await findEnclosingServer(path)
  if (owner !== null) throw insideServer(path, owner)
}

export function insideServer(path: string, owner: ServerOwned): Failure {
  return new Failure('target-unsafe', `${path} lies inside the ${owner.kind} ${owner.path} of a PostgreSQL server: backups there are lost together with it`, {
    hints: ['choose a directory outside of it, best on another disk, and change the path of the repository'],
    details: { path, [owner.kind === 'tablespace' ? 'tablespace' : 'dataDirectory']: owner.path },
  })
}

/** Without links, as far as it is there: what is still to be made has none. */
export async function realPathOfExisting(path: string): Promise<string> {
  const missing: string[] = []
  for (let current = path; ; current = dirname(current)) {
    try {
      return join(await realpath(current), ...missing)
    } catch (error) {
      if (!isNothing(error) || dirname(current) === current) throw error
      missing.unshift(basename(current))
    }
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (isNothing(error)) return false
    throw error
  }
}

/** The server makes `PG_<major>_<catalog version>` in each tablespace. */
async function isTablespace(path: string): Promise<boolean> {
  try {
    return (await readdir(path, { withFileTypes: true })).some((entry) => entry.isDirectory() && /^PG_\d+(\.\d+)?_\d{9}$/.test(entry.name))
  } catch (error) {
    if (isNothing(error)) return false
    throw error
  }
}

/** Where we may not look we may not write either, and a path that is not there contains nothing. */
function isNothing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM'].includes(systemCodeOf(error) ?? '')
}
