import { realpath } from 'node:fs/promises'
import { relative, sep } from 'node:path'
import { systemCodeOf } from '../kernel/failure.ts'

/** Without links; the path itself where nothing is there. */
export async function realPathOrSame(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return path
    throw error
  }
}

/** The key of what lies at `path` in a storage whose directory is `root`: '' for the directory itself, undefined outside of it. Both without links. */
export function keyBelow(root: string, path: string): string | undefined {
  if (path === root) return ''
  return path.startsWith(root.endsWith(sep) ? root : `${root}${sep}`) ? relative(root, path).split(sep).join('/') : undefined
}
