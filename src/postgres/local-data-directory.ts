import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCodeOf } from '../kernel/failure.ts'
import { isPostmasterOf, parentOf } from './process-identity.ts'
import type { Session } from './session.ts'

export type LocalDataDirectory = { readonly path: string } | { readonly path: null; readonly why: string }

/**
 * The data directory of the server that a session is connected to, where it is a directory of this machine that we may look into. That a directory of the
 * same name here is that server's is not taken for granted: the process that serves the session must be a child of the one in its postmaster.pid.
 */
export async function findLocalDataDirectory(session: Session): Promise<LocalDataDirectory> {
  if (session.via === 'container') return { path: null, why: 'the server runs in a container, and is reached through it' }
  const [row] = await session.query<{ path: string }>(`SELECT setting AS path FROM pg_catalog.pg_settings WHERE name = 'data_directory'`)
  // Who may not see a setting finds no row of it.
  if (row === undefined) return { path: null, why: `role "${session.user}" may not know where the server keeps its files (GRANT pg_read_all_settings)` }
  const { path } = row
  try {
    const pidFile = await readFile(join(path, 'postmaster.pid'), 'utf8')
    if (await isPostmasterOf(pidFile, session.backendPid, parentOf)) return { path }
    return { path: null, why: `the server does not run on this machine, or out of sight: ${path} here belongs to another one` }
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return { path: null, why: `the server does not run on this machine: there is no ${path} here` }
    if (code === 'EACCES' || code === 'EPERM') return { path: null, why: `this account may not look into ${path}` }
    throw error
  }
}
