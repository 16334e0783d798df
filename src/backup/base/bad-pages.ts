import { readablePath } from '../../pgdata/file-path.ts'
import type { ChecksumFailures } from '../../postgres/replication/base-backup.ts'

/** Pages whose checksum is wrong, as the server itself would tell of them. */
export interface BadPages {
  /** `block` counts from the beginning of the file. */
  add(path: string, page: { readonly block: number; readonly expected: number; readonly found: number }): void
  /** Null when there are none. */
  failures(): ChecksumFailures | null
}

/** Named for each file; the total is exact. */
const namedPerFile = 5

export function collectBadPages(): BadPages {
  const counts = new Map<string, number>()
  const pages: ChecksumFailures['pages'][number][] = []
  const warnings: string[] = []
  return {
    add: (path, { block, expected, found }) => {
      const count = (counts.get(path) ?? 0) + 1
      counts.set(path, count)
      if (count > namedPerFile) return
      const name = readablePath(path)
      pages.push({ path: name, block })
      warnings.push(`checksum verification failed in file "${name}", block ${block}: calculated ${hex(expected)} but expected ${hex(found)}`)
    },
    failures: () => {
      if (counts.size === 0) return null
      const total = [...counts.values()].reduce((sum, count) => sum + count, 0)
      const many = [...counts].filter(([, count]) => count > namedPerFile).map(([path, count]) => `file "${readablePath(path)}" has ${count} pages that fail their checksum`)
      return { pages, warnings: [...warnings, ...many, `${total} ${total === 1 ? 'page fails its' : 'pages fail their'} checksum`] }
    },
  }
}

const hex = (checksum: number) => checksum.toString(16).toUpperCase()
