import type { Reach } from '../../postgres/reach.ts'
import type { ConnectionTarget } from '../../postgres/target.ts'
import type { Whereabouts } from '../../repository/lease.ts'

/** One base backup into one repository. */
export interface BaseBackupRequest {
  readonly run: string
  readonly cluster: string
  readonly target: ConnectionTarget
  readonly reach: Reach
  /** `auto`: incremental where there is a backup to compare with. */
  readonly type: 'full' | 'incr' | 'auto'
  /** Who reads the files: the server, which streams them, or we. `auto`: we, where they lie on this machine and may be read. */
  readonly reader: 'auto' | 'stream' | 'direct'
  readonly name: string | null
  /** Threads that hash, compress and seal. */
  readonly threads: number
  /** Of zstd. */
  readonly level: number
  /** Read everything back that was written, before the commit. */
  readonly verify: boolean
  readonly timeZone: string
  readonly hostName: string
  readonly whereabouts: Whereabouts
}
