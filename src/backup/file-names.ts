import { folderOf, monthlyFolder, sealedName, weeklyFolder, type Layout } from '../repository/layout.ts'

export type DumpFormat = 'custom' | 'plain' | 'directory'
export type Compression = { readonly method: 'gzip' | 'zstd'; readonly level: number } | { readonly method: 'none' }

/**
 * The extension tells how to open the file: `.dump` is always readable by pg_restore (gzip then lies inside the archive),
 * `.dump.zst` after `zstd -d`; plain SQL is `.sql`, `.sql.gz`, `.sql.zst`; a directory dump is a folder `.d`. Where files are sealed each ends
 * in `.age`, after all that; of a directory dump those in the folder.
 */
export function extensionFor(format: DumpFormat, compression: Compression): string {
  if (format === 'directory') return '.d'
  if (format === 'custom') return compression.method === 'zstd' ? '.dump.zst' : '.dump'
  return { gzip: '.sql.gz', zstd: '.sql.zst', none: '.sql' }[compression.method]
}

/** `zstd:3`, `gzip:9`, `none` */
export function compressionLabel(compression: Compression): string {
  return compression.method === 'none' ? 'none' : `${compression.method}:${compression.level}`
}

export interface DumpKeys {
  readonly fileName: string
  /** The dump; for a directory dump the folder without its slash. */
  readonly dump: string
  /** The key of one file of a directory dump. */
  part(name: string): string
  readonly info: string
  readonly globals: string
  /** Where the tiered layout keeps further copies; empty elsewhere. */
  readonly copies: readonly string[]
}

export interface KeyRequest {
  readonly stem: string
  readonly format: DumpFormat
  readonly compression: Compression
  readonly isSealed: boolean
  readonly layout: Layout
  /** Calendar day in the cluster's zone. */
  readonly day: Temporal.PlainDate
  /** The week's and month's copies of the tiered layout that this backup is to provide. */
  readonly weekly: boolean
  readonly monthly: boolean
}

export function keysFor({ stem, format, compression, isSealed, layout, day, weekly, monthly }: KeyRequest): DumpKeys {
  const folder = folderOf(layout, day)
  const asStored = isSealed ? sealedName : (name: string) => name
  const plainName = `${stem}${extensionFor(format, compression)}`
  const fileName = format === 'directory' ? plainName : asStored(plainName)
  const copies = layout === 'tiered' ? [...(weekly ? [`${weeklyFolder(day)}${fileName}`] : []), ...(monthly ? [`${monthlyFolder(day)}${fileName}`] : [])] : []
  return {
    fileName,
    dump: `${folder}${fileName}`,
    part: (name) => `${folder}${fileName}/${asStored(name)}`,
    info: asStored(`${folder}${stem}.info`),
    globals: asStored(`${folder}${stem}.globals.sql`),
    copies,
  }
}

/** Every key that a run may write outside `.tidemark/`; named in its `begin` entry so that a crash leaves nothing unknown. */
export function plannedObjects(keys: DumpKeys, format: DumpFormat): readonly string[] {
  return [format === 'directory' ? `${keys.dump}/` : keys.dump, keys.info, keys.globals, ...keys.copies]
}
