import { hashBytes } from '../../packs/leaf.ts'
import type { FilePart } from './file-part.ts'
import type { LeafWriter } from './leaf-writer.ts'
import { smallFileBytes } from './open-part.ts'
import type { BadPageFound, Piece } from './page-job.ts'
import type { PageWorkers, Slot } from './page-workers.ts'

/** A row of pages of a part of a file, on its way through a thread. */
export interface PartPiece extends Piece {
  readonly part: FilePart
  /** By their number in the part. */
  readonly from: number
  readonly pages: number
}

/** Sends pieces of parts to the threads, and gives the parts that are complete to the leaves. */
export interface PartJobs<P extends PartPiece> {
  /** Throws what a job failed with. */
  requireNoFailure(): void
  /** The pieces lie in the slot, or are fetched into it. */
  send(slot: Slot, pieces: readonly P[]): void
  /** Resolves when every job was looked at. Rejects with what one failed with. */
  settle(): Promise<void>
}

export interface PartJobsOptions<P extends PartPiece> {
  readonly workers: PageWorkers
  readonly leaves: LeafWriter
  readonly newerThan?: bigint
  /** Told of each piece when it was looked at; `missed`: its file was gone, or another one. */
  readonly looked?: (piece: P, found: { readonly missed: boolean; readonly badPages: readonly BadPageFound[] }) => void
  /** Makes what a job failed with what it is for its piece. */
  readonly explain?: (error: unknown, pieces: readonly P[]) => unknown
}

export function createPartJobs<P extends PartPiece>({ workers, leaves, newerThan = 0n, looked: tell, explain }: PartJobsOptions<P>): PartJobs<P> {
  const running = new Set<Promise<void>>()
  let failure: { readonly error: unknown } | null = null

  const look = async (slot: Slot, pieces: readonly P[]): Promise<void> => {
    const looked = await workers.run(slot, {
      ...expectationsOf(pieces),
      newerThan,
      pieces: pieces.map(({ offset, bytes, source }) => ({ offset, bytes, source })),
    })
    const missed = new Set(looked.missed)
    let page = 0
    for (const [number, piece] of pieces.entries()) {
      const { part, from, pages } = piece
      if (!missed.has(number) && part.add(looked, { from, count: pages, at: page })) completePart(part, leaves)
      page += pages
      tell?.(piece, { missed: missed.has(number), badPages: looked.badPages.filter((bad) => bad.piece === number) })
    }
  }
  const requireNoFailure = (): void => {
    if (failure !== null) throw failure.error
  }
  return {
    requireNoFailure,
    send: (slot, pieces) => {
      const work = look(slot, pieces)
        .catch((error: unknown) => {
          failure ??= { error: explain?.(error, pieces) ?? error }
        })
        .finally(() => running.delete(work))
      running.add(work)
    },
    settle: async () => {
      await Promise.all(running)
      requireNoFailure()
    },
  }
}

/** Gives a part of which every page is known to the leaves. */
export function completePart(part: FilePart, leaves: LeafWriter): void {
  const entry = part.entry()
  if (entry.sizeBytes > smallFileBytes) leaves.part(entry)
  else leaves.small(entry)
}

/** What the pages of a job were in the prior backup. */
function expectationsOf(pieces: readonly PartPiece[]): { readonly prior: Buffer | null; readonly compare: Buffer | null } {
  const count = pieces.reduce((pages, piece) => pages + piece.pages, 0)
  const prior = Buffer.alloc(count * hashBytes)
  const compare = Buffer.alloc(count)
  let at = 0
  for (const { part, from, pages } of pieces) {
    part.expectation(from, pages, { prior, compare, at })
    at += pages
  }
  return compare.includes(1) ? { prior, compare } : { prior: null, compare: null }
}
