import { readFile, statfs } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { isFailure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { nameOfContainer, runInContainer, type ContainerAccess } from './container.ts'
import { findContainerSpace } from './container-space.ts'
import { isPostmasterOf, parentIn, parentOf } from './process-identity.ts'
import type { Reached } from './reach.ts'
import type { Session } from './session.ts'

/** Bytes free where a server keeps a database, or why that cannot be known from here. Never a guess. */
export type ServerSpace =
  | { readonly freeBytes: number; readonly path: string; /** OID of the tablespace. */ readonly tablespace: number }
  | { readonly freeBytes: null; readonly why: string; readonly tablespace: number | null }

/**
 * How much is free where the named database is kept; for one that is to be created, name the template. It is known for a server of this machine whose
 * data directory this account may look into, and for one in a container that docker reaches. That a directory of that name *here* is that server's is not
 * taken for granted (a server behind a published port or a tunnel has a directory of the same name): the process that serves our session must be a child of
 * the one in its postmaster.pid. A place that cannot be asked is an unknown one, and rejects nothing.
 */
export async function findServerSpace(reached: Pick<Reached, 'session' | 'route'>, database: string, signal?: AbortSignal): Promise<ServerSpace> {
  const { session, route } = reached
  const found = await directoriesOf(session, database)
  if (found === null)
    return { freeBytes: null, why: `role "${session.user}" may not know where the server keeps its files (pg_read_all_settings)`, tablespace: null }
  const { dataDirectory, tablespace } = found
  const path = found.location === '' ? dataDirectory : isAbsolute(found.location) ? found.location : join(dataDirectory, found.location)
  const unknown = (why: string): ServerSpace => ({ freeBytes: null, why, tablespace })
  const place = route.container === null ? thisMachine : inContainer(route.container, signal)
  try {
    const pidFile = await place.read(join(dataDirectory, 'postmaster.pid'))
    if (pidFile === null) return unknown(`${dataDirectory}, where the server keeps its files, is not on ${place.name}, or this account may not look into it`)
    if (!(await isPostmasterOf(pidFile, session.backendPid, (pid) => place.parentOf(pid))))
      return unknown(`whether ${dataDirectory} on ${place.name} is the directory of this server cannot be told`)
    const freeBytes = await place.freeBytes(path)
    return freeBytes === null ? unknown(`the file system of ${path} could not be asked`) : { freeBytes, path, tablespace }
  } catch (error) {
    signal?.throwIfAborted()
    if (!isFailure(error) && systemCodeOf(error) === undefined) throw error
    return unknown(messageOf(error))
  }
}

async function directoriesOf(session: Session, database: string): Promise<{ dataDirectory: string; location: string; tablespace: number } | null> {
  const [row] = await session.query<{ directory: string | null; location: string; tablespace: number }>(
    `SELECT (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory') AS directory, pg_catalog.pg_tablespace_location(d.dattablespace) AS location, d.dattablespace AS tablespace
     FROM pg_catalog.pg_database d WHERE d.datname = $1`,
    [database],
  )
  // Who may not see a setting finds no row of it.
  return row === undefined || row.directory === null ? null : { dataDirectory: row.directory, location: row.location, tablespace: row.tablespace }
}

/** Where the server's files are looked at. */
interface Place {
  readonly name: string
  /** Null when there is no such file, or none that we may read. */
  read(path: string): Promise<string | null>
  parentOf(pid: number): Promise<number | null>
  freeBytes(path: string): Promise<number | null>
}

const thisMachine: Place = {
  name: 'this machine',
  parentOf,
  read: (path) =>
    readFile(path, 'utf8').catch((error: unknown) => {
      if (['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM'].includes(systemCodeOf(error) ?? '')) return null
      throw error
    }),
  freeBytes: async (path) => {
    const { bavail, bsize } = await statfs(path, { bigint: true })
    return Number(bavail * bsize)
  },
}

function inContainer(access: ContainerAccess, signal?: AbortSignal): Place {
  const read = async (path: string) => {
    const run = await runInContainer(access, { command: ['cat', path], environment: { LC_ALL: 'C' } }, signal)
    return run.exitCode === 0 ? run.stdout : null
  }
  return {
    name: nameOfContainer(access.container),
    read,
    parentOf: async (pid) => {
      const stat = await read(`/proc/${pid}/stat`)
      return stat === null ? null : parentIn(stat)
    },
    freeBytes: async (path) => {
      const { freeBytes } = await findContainerSpace(access, path, signal)
      return freeBytes === null ? null : Math.max(0, freeBytes)
    },
  }
}
