import { fingerprintSettings } from '../dump/pinned-settings.ts'
import type { Compression, DumpFormat } from './file-names.ts'
import type { Selection } from './left-out.ts'

export interface DumpArguments {
  readonly format: DumpFormat
  readonly compression: Compression
  readonly selection: Selection
  readonly lockWaitSeconds: number
  readonly snapshot: string | null
  /** pg_dump workers; only the directory format has them. */
  readonly jobs: number
  /** Where the directory format writes; null for standard output. */
  readonly directory: string | null
  readonly toolMajor: number
  /** The source database's own encoding: nothing is converted, so nothing can fail to convert (fingerprints are taken of this text). */
  readonly encoding: string
}

const { search_path: _emptiedByPgDumpItself, ...withoutSearchPath } = fingerprintSettings

/**
 * The settings of pg_dump's sessions. It empties the search path by itself before it reads anything, and goes back to the role's own only to
 * match patterns: pinned here, `--table=orders` would match nothing, and `--exclude-table=orders` would leave nothing out without a word.
 */
export const pgDumpSettings: Readonly<Record<string, string>> = Object.freeze(withoutSearchPath)

/** pg_dump's arguments but for the connection, which travels in the environment. Values never stand alone, so none can be taken for an option. */
export function pgDumpArguments(options: DumpArguments): readonly string[] {
  const { selection, compression } = options
  const inner = options.format === 'custom' && compression.method !== 'gzip' ? 0 : null
  return [
    `--format=${options.format}`,
    '--no-password',
    `--encoding=${options.encoding}`,
    `--lock-wait-timeout=${options.lockWaitSeconds * 1000}`,
    ...(options.snapshot === null ? [] : [`--snapshot=${options.snapshot}`]),
    ...(inner === null ? [] : [`--compress=${inner}`]),
    ...(options.format === 'custom' && compression.method === 'gzip' ? [`--compress=${compression.level}`] : []),
    ...(options.format === 'directory' ? [directoryCompression(compression, options.toolMajor), `--jobs=${options.jobs}`] : []),
    ...(options.directory === null ? [] : [`--file=${options.directory}`]),
    ...(selection.schemaOnly ? ['--schema-only'] : []),
    ...(selection.dataOnly ? ['--data-only'] : []),
    ...selection.tables.map((pattern) => `--table=${pattern}`),
    ...selection.schemas.map((pattern) => `--schema=${pattern}`),
    ...selection.excludeTables.map((pattern) => `--exclude-table=${pattern}`),
  ]
}

/** pg_dump itself compresses the files of a directory dump: zstd from 16 on, gzip before. */
function directoryCompression(compression: Compression, toolMajor: number): string {
  if (compression.method === 'none') return '--compress=0'
  if (compression.method === 'zstd') return toolMajor >= 16 ? `--compress=zstd:${compression.level}` : '--compress=6'
  return `--compress=${compression.level}`
}

/** What the directory format is really compressed with, for the record. */
export function effectiveCompression(format: DumpFormat, compression: Compression, toolMajor: number): Compression {
  if (format === 'directory' && compression.method === 'zstd' && toolMajor < 16) return { method: 'gzip', level: 6 }
  return compression
}
