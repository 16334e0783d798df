import { readablePath } from '../../pgdata/file-path.ts'
import type { ChecksumFailures } from '../../postgres/replication/base-backup.ts'

/** Pages whose checksum is wrong, told as the server itself would. */
export interface BadPages {
  /** In any order: threads find them. */
  add(path: string, page: FoundBadPage): void
  /** Null when there are none. */
  failures(): ChecksumFailures | null
}

export interface FoundBadPage {
  /** Counted from the beginning of the file. */
  readonly block: number
  readonly expected: number
  readonly found: number
}

/** The first of each file; the total is exact. */
const namedPerFile = 5

export function collectBadPages(): BadPages {
  const files = new Map<string, { count: number; first: readonly FoundBadPage[] }>()
  return {
    add: (path, page) => {
      const { count, first } = files.get(path) ?? { count: 0, first: [] }
      files.set(path, { count: count + 1, first: [...first, page].toSorted((a, b) => a.block - b.block).slice(0, namedPerFile) })
    },
    failures: () => {
      if (files.size === 0) return null
      const pages: ChecksumFailures['pages'][number][] = []
      const warnings: string[] = []
      let total = 0
      for (const [path, { count, first }] of [...files].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
        const name = readablePath(path)
        total += count
        for (const { block, expected, found } of first) {
          pages.push({ path: name, block })
          warnings.push(`checksum verification failed in file "${name}", block ${block}: calculated ${hex(expected)} but expected ${hex(found)}`)
        }
        if (count > namedPerFile) warnings.push(`file "${name}" has ${count} pages that fail their checksum`)
      }
      return { pages, warnings: [...warnings, `${total} ${total === 1 ? 'page fails its' : 'pages fail their'} checksum`] }
    },
  }
}

const hex = (checksum: number) => checksum.toString(16).toUpperCase()
