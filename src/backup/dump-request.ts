import type { Whereabouts } from '../repository/lease.ts'
import type { Compression, DumpFormat } from './file-names.ts'
import type { Selection } from './left-out.ts'
import type { SourceRequest } from './open-source.ts'

/** One dump of one database, as it is wanted. */
export interface DumpRequest extends SourceRequest {
  /** Also the backup's id. */
  readonly run: string
  readonly cluster: string
  /** File name without extension, safe for a path. */
  readonly stem: string
  readonly name: string | null
  /** Add a suffix when the stem is taken, instead of refusing. Always so for names made from a template. */
  readonly nameUnique: boolean
  readonly selection: Selection
  readonly format: DumpFormat
  readonly compression: Compression
  readonly jobs: number
  readonly fingerprint: boolean
  readonly verify: boolean
  readonly globals: boolean
  /** A safety backup before a replacement. */
  readonly safety: boolean
  /** IANA zone of the cluster: days and file names are counted in it. */
  readonly timeZone: string
  readonly hostName: string
  /** Directory dumps are staged below it. */
  readonly workDirectory: string
  readonly whereabouts: Whereabouts
}
