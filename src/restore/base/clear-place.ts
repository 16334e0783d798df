import { lstat, rm } from 'node:fs/promises'
import type { Context } from '../../kernel/context.ts'
import { systemCodeOf } from '../../kernel/failure.ts'
import type { LeafEntry } from '../../packs/leaf.ts'
import { pathBelow, readablePath } from '../../pgdata/file-path.ts'

/**
 * Where a directory is gone on with: takes away what stands in the place of an entry and leads out of the directory, so that nothing outside is ever written, and nothing from there counts.
 * A link to a directory (`pg_wal` on another disk) becomes a directory: WAL of another state that lies behind it would be replayed. A file with a second name (`cp -al`) gets content of its own.
 * What a link leads to, and what else has that name, stays as it is. Call it for directories before what they hold.
 */
export async function clearPlace(
  directory: string,
  { kind, path, firstPage }: Pick<LeafEntry, 'kind' | 'path' | 'firstPage'>,
  { emit }: Pick<Context, 'emit'>,
): Promise<void> {
  // The later parts of a large file.
  if (firstPage > 0) return
  const place = pathBelow(directory, path)
  const found = await lstat(place).catch((error: unknown) => {
    if (systemCodeOf(error) === 'ENOENT') return null
    throw error
  })
  if (found === null || (kind === 'directory' ? found.isDirectory() : found.isFile() && found.nlink === 1)) return
  await rm(place, { recursive: true })
  if (kind !== 'directory' || !found.isSymbolicLink()) return
  const message = `${directory}/${readablePath(path)} was a link and is a directory now: what it led to is not touched, and not used any more`
  emit({ type: 'warning', code: 'link-replaced', message })
}
