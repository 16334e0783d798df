import { realpath } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { systemCodeOf } from '../../kernel/failure.ts'
import { realPathOfExisting } from '../../postgres/data-directory.ts'
import type { BaseRestorePlan, BaseRestoreRequest } from './base-restore-request.ts'
import { lookAtTarget } from './target-directory.ts'

type Mapping = Pick<BaseRestoreRequest, 'backup' | 'directory' | 'tablespaceMap'>
type MappedTablespaces = BaseRestorePlan['tablespaces']

/** Unless the map says otherwise, a tablespace lies beside the data directory: its own place may be in use by the original. */
export function mapTablespaces({ backup, directory, tablespaceMap }: Mapping): MappedTablespaces {
  return (
    backup.root.tablespaces
      // One that lies in the data directory itself goes with it.
      .filter(({ path }) => path.startsWith('/'))
      .map(({ oid, path }) => {
        const place = tablespaceMap[oid] ?? tablespaceMap[path]
        return { oid, from: path, to: place === undefined ? `${directory}-tablespaces/${oid}` : resolve(place) }
      })
  )
}

/** Why the tablespaces cannot go there. Each needs a directory that is as empty as the data directory, or a part of what is gone on with. */
export async function judgeTablespaces(
  { directory, tablespaceMap }: Mapping,
  { tablespaces, isNew }: { readonly tablespaces: MappedTablespaces; readonly isNew: boolean },
): Promise<readonly string[]> {
  const refusals: string[] = []
  for (const { oid, to } of tablespaces) {
    if (`${await realPathOfExisting(to)}/`.startsWith(`${await realPathOfExisting(directory)}/`))
      refusals.push(`the directory of a tablespace, ${to}, lies in the data directory itself; choose another: --tablespace-map OID=DIRECTORY`)
    if (tablespaces.some((other) => other.oid !== oid && other.to === to)) refusals.push(`two tablespaces cannot lie in one directory, ${to}`)
    const found = await lookAtTarget(to)
    if (found.kind === 'absent' || found.kind === 'empty') continue
    if (isNew || !(await isLinked(join(directory, 'pg_tblspc', oid), to)))
      refusals.push(`the directory of a tablespace, ${to}, is not empty; choose another: --tablespace-map OID=DIRECTORY`)
  }
  const unused = Object.keys(tablespaceMap).filter((name) => !tablespaces.some(({ oid, from }) => oid === name || from === name))
  if (unused.length > 0) refusals.push(`the backup has no tablespace ${unused.join(', ')}, which the map names`)
  return refusals
}

/** Whether the data directory that is gone on with has its tablespace there. */
async function isLinked(link: string, to: string): Promise<boolean> {
  try {
    return (await realpath(link)) === (await realpath(to))
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(systemCodeOf(error) ?? '')) return false
    throw error
  }
}
