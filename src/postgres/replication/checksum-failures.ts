import type { ServerNotice } from './message-fields.ts'

/** Pages whose checksum is wrong, as the server found while it read them. */
export interface ChecksumFailures {
  /** The server names five per file; none where it does not speak English (`lc_messages`). */
  readonly pages: readonly { readonly path: string; readonly block: number }[]
  /** All that the server warned of during the backup, in its own words. */
  readonly warnings: readonly string[]
}

/** Reads `checksum verification failed in file "./base/5/1259", block 7: calculated 3A6B but expected 9D12` (basebackup.c). */
export function checksumFailuresOf(warnings: readonly ServerNotice[]): ChecksumFailures {
  return {
    pages: warnings.flatMap(({ message }) => {
      const [, path, block] = /^checksum verification failed in file "(?:\.\/)?(.+)", block (\d+):/.exec(message) ?? []
      return path === undefined || block === undefined ? [] : [{ path, block: Number(block) }]
    }),
    warnings: warnings.map(({ message }) => message),
  }
}
