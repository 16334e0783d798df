import { Failure } from '../../kernel/failure.ts'
import { withoutIncrementalLines } from '../../pgdata/backup-label.ts'
import {
  incrementalHeaderBytes,
  incrementalPrefixBytes,
  incrementalTarget,
  parseIncrementalFile,
  reconstructedPages,
  type IncrementalFile,
} from '../../pgdata/incremental-file.ts'
import { relationFileOf } from '../../pgdata/relation-path.ts'
import type { ChangedLane } from './changed-lane.ts'
import { createChangedMaps, type ChangedMaps } from './changed-maps.ts'
import type { FileLane } from './file-lane.ts'
import type { FileHead } from './file-part.ts'
import type { PriorBackup } from './prior-backup.ts'
import type { FileTaker } from './read-archives.ts'

export interface ChangedFilesOptions {
  /** For files that come whole. */
  readonly whole: FileLane
  /** For files of which the changed pages come. */
  readonly changed: ChangedLane
  readonly prior: Pick<PriorBackup, 'entry'>
  readonly pageBytes: number
  /** `RELSEG_SIZE`. */
  readonly segmentPages: number
}

/** A file whose bytes are coming. */
type OpenFile =
  | { readonly kind: 'whole' }
  /** Kept until its end, for some of it is left out; small. */
  | { readonly kind: 'label'; readonly head: FileHead; readonly bytes: Buffer[] }
  | {
      readonly kind: 'changed'
      readonly head: FileHead
      readonly target: string
      /** Bytes of the header, then of a page, that are not whole yet. */ rest: Buffer
      plan: ChangedPlan | null
    }
  /** A visibility map: what is to become of it is known when all tables beside it were seen. */
  | { readonly kind: 'map'; readonly head: FileHead; readonly target: string; readonly bytes: Buffer[] }

/** Which pages of a file come, and which are zeros: those that the server never wrote. */
interface ChangedPlan {
  readonly head: FileHead
  /** Those that come. */
  readonly blocks: Uint32Array
  /** Those that are handed over, zeros included. */
  readonly sent: Uint32Array
  /** How many of either are done. */
  came: number
  handed: number
}

/** Takes the archives of an incremental BASE_BACKUP (17 and newer): whole files, changed pages of others, and a label that becomes that of a backup that stands alone. */
export function createChangedFiles({ whole, changed, prior, pageBytes, segmentPages }: ChangedFilesOptions): FileTaker & { finish(): Promise<void> } {
  const format = { pageBytes, relationSegmentPages: segmentPages }
  const zeros = Buffer.alloc(pageBytes)
  const maps: ChangedMaps = createChangedMaps({ pageBytes, segmentPages })
  let open: OpenFile | null = null

  const planOf = async (target: string, mode: number, file: IncrementalFile, extraZeros: readonly number[] = []): Promise<ChangedPlan> => {
    const pages = reconstructedPages(file)
    const before = await prior.entry(target, 0)
    if (before === undefined) throw new Failure('integrity', `the server sent changes of ${target}, which the prior backup does not have`)
    const known = Math.min(file.truncationPages, Math.ceil(before.sizeBytes / pageBytes))
    const sent = new Set<number>(file.blocks)
    // Below the shortest length that the file had meanwhile the prior's pages count, beyond it only what was sent.
    for (let page = known; page < pages; page += 1) sent.add(page)
    for (const page of extraZeros) if (page < pages) sent.add(page)
    return { head: { path: target, mode, sizeBytes: pages * pageBytes }, blocks: file.blocks, sent: Uint32Array.from(sent).toSorted(), came: 0, handed: 0 }
  }

  /** Hands over the page that comes next, after the zeros that belong before it. */
  const handPage = async (plan: ChangedPlan, page: Uint8Array): Promise<void> => {
    const block = plan.blocks[plan.came]
    if (block === undefined) throw new Error(`${plan.head.path} has more pages than it announced`)
    await handZeros(plan, block)
    await changed.write(page)
    plan.came += 1
    plan.handed += 1
  }
  /** The announced pages before this one. */
  const handZeros = async (plan: ChangedPlan, until: number): Promise<void> => {
    for (; (plan.sent[plan.handed] ?? Infinity) < until; plan.handed += 1) await changed.write(zeros)
  }
  const handPages = async (plan: ChangedPlan, bytes: Buffer): Promise<void> => {
    for (let at = 0; at < bytes.length; at += pageBytes) await handPage(plan, bytes.subarray(at, at + pageBytes))
  }

  const takeChanged = async (file: OpenFile & { readonly kind: 'changed' }, bytes: Uint8Array): Promise<void> => {
    let fresh = Buffer.from(bytes)
    if (file.plan === null) {
      file.rest = Buffer.concat([file.rest, fresh])
      if (file.rest.length < incrementalPrefixBytes) return
      const needed = incrementalHeaderBytes(file.rest, format)
      if (file.rest.length < needed) return
      const parsed = parseIncrementalFile(file.rest, format)
      if (parsed.fileBytes !== file.head.sizeBytes) throw new Failure('integrity', `the server sent ${file.head.path} with a length that it does not announce`)
      fresh = Buffer.from(file.rest.subarray(needed))
      maps.tableChanged(file.target, parsed.blocks)
      file.plan = await planOf(file.target, file.head.mode, parsed)
      await changed.begin(file.plan.head, file.plan.sent)
      file.rest = Buffer.alloc(0)
    }
    // Whole pages are handed over; what is left of one waits for its end.
    const waiting = Buffer.concat([file.rest, fresh])
    const ready = waiting.length - (waiting.length % pageBytes)
    await handPages(file.plan, waiting.subarray(0, ready))
    file.rest = Buffer.from(waiting.subarray(ready))
  }

  const endChanged = async (plan: ChangedPlan): Promise<void> => {
    if (plan.came !== plan.blocks.length) throw new Error(`${plan.head.path} ended after ${plan.came} of ${plan.blocks.length} pages`)
    await handZeros(plan, plan.head.sizeBytes)
    await changed.end()
  }

  const takeMap = async (file: OpenFile & { readonly kind: 'map' }): Promise<void> => {
    const bytes = Buffer.concat(file.bytes)
    const parsed = parseIncrementalFile(bytes, format)
    const plan = await planOf(file.target, file.head.mode, parsed, maps.staleIn(file.target))
    await changed.begin(plan.head, plan.sent)
    await handPages(plan, bytes.subarray(parsed.headerBytes))
    await endChanged(plan)
  }

  const storeWhole = async (head: FileHead, bytes: Buffer): Promise<void> => {
    await whole.begin({ ...head, sizeBytes: bytes.length })
    await whole.write(bytes)
    whole.end()
  }

  const waitingMaps: (OpenFile & { readonly kind: 'map' })[] = []
  return {
    directory: (path, mode) => whole.directory(path, mode),
    begin: (head) => {
      const target = incrementalTarget(head.path)
      if (target === null) {
        if (head.path === 'backup_label') {
          open = { kind: 'label', head, bytes: [] }
          return undefined
        }
        open = { kind: 'whole' }
        maps.tableCameWhole(head.path)
        return whole.begin(head)
      }
      const isMap = relationFileOf(target)?.fork === 'vm'
      open = isMap ? { kind: 'map', head, target, bytes: [] } : { kind: 'changed', head, target, rest: Buffer.alloc(0), plan: null }
      return undefined
    },
    write: (bytes) => {
      if (open === null) throw new Error('bytes came outside of any file')
      if (open.kind === 'whole') return whole.write(bytes)
      if (open.kind === 'changed') return takeChanged(open, bytes)
      open.bytes.push(Buffer.from(bytes))
      return undefined
    },
    end: async () => {
      const ended = open
      open = null
      if (ended?.kind === 'whole') whole.end()
      else if (ended?.kind === 'label') await storeWhole(ended.head, withoutIncrementalLines(Buffer.concat(ended.bytes)))
      else if (ended?.kind === 'map') waitingMaps.push(ended)
      else if (ended?.kind === 'changed') {
        if (ended.plan === null || ended.rest.length > 0) throw new Error(`${ended.head.path} ended in the middle of a page`)
        await endChanged(ended.plan)
      }
    },
    // A table and its map lie in one directory, so in one archive.
    archiveEnd: async () => {
      for (const map of waitingMaps.splice(0)) await takeMap(map)
      maps.forget()
    },
    finish: async () => {
      await whole.finish()
      await changed.finish()
    },
  }
}
