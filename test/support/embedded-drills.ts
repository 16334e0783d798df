import { mkdir, symlink } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { systemCodeOf } from '../../src/kernel/failure.ts'
import { embeddedSource } from './cluster.ts'

/** The environment in which `drill --server embedded` uses the tests' own servers; those run under another account, which must be able to pass. */
export async function embeddedDrills(): Promise<Record<string, string>> {
  const cache = join(tmpdir(), `tidemark-test-cache-${userInfo().uid}`)
  await mkdir(cache, { recursive: true, mode: 0o755 })
  await symlink(embeddedSource.cacheDir, join(cache, 'postgres')).catch((error: unknown) => {
    if (systemCodeOf(error) !== 'EEXIST') throw error
  })
  return { TIDEMARK_CACHE_DIR: cache, TIDEMARK_WORK_DIR: tmpdir() }
}
