import type { OpenBaseBackup } from '../repository/base/open-base-backup.ts'
import type { PageProblem } from '../repository/base/check-pages.ts'

/**
 * What one run has read already: backups share packs, and reading one five times tells no more than once. A frame that was opened is what was stored;
 * that the pages in it are those of a certain backup is looked at for the first backup only that has them.
 */
export interface PagesLookedAt {
  /** Whether a frame was opened before. */
  has(pack: string, frame: number): boolean
  /** Whether the ends of a pack were looked at. */
  hasEnds(pack: string): boolean
  /** What was found in frames that this backup has, too. */
  known(backup: OpenBaseBackup): readonly PageProblem[]
  /** What this backup has was looked at. */
  add(backup: OpenBaseBackup, found: FoundInPacks): void
}

export interface FoundInPacks {
  readonly problems: readonly PageProblem[]
  readonly broken: ReadonlyMap<number, ReadonlySet<number> | null>
  /** Whether every frame that is live in the backup was opened. */
  readonly isAll: boolean
}

interface LookedAtPack {
  /** 1 for each frame that was opened. */
  readonly frames: Buffer
  /** By frame; under -1 what concerns the whole pack. */
  readonly problems: Map<number, PageProblem>
}

const wholePack = -1

export function createPagesLookedAt(): PagesLookedAt {
  const packs = new Map<string, LookedAtPack>()
  return {
    has: (pack, frame) => packs.get(pack)?.frames[frame] === 1,
    hasEnds: (pack) => packs.has(pack),
    known: (backup) =>
      backup.tables.packs.flatMap(({ id, live }, pack) => {
        const problems = packs.get(id.toString('hex'))?.problems ?? new Map<number, PageProblem>()
        return [...problems].filter(([frame]) => frame === wholePack || (live[frame] ?? 0) > 0).map(([, problem]) => ({ ...problem, pack }))
      }),
    add: (backup, { problems, broken, isAll }) => {
      for (const [pack, { id, live }] of backup.tables.packs.entries()) {
        const name = id.toString('hex')
        const known = packs.get(name) ?? { frames: Buffer.alloc(live.length), problems: new Map<number, PageProblem>() }
        packs.set(name, known)
        if (isAll) for (const [frame, share] of live.entries()) if (share > 0) known.frames[frame] = 1
        for (const problem of problems) if (problem.pack === pack) known.problems.set(problem.frame ?? wholePack, problem)
        // Those that were too many to be named.
        for (const frame of framesOf(broken, pack)) if (!known.problems.has(frame)) known.problems.set(frame, unnamed(backup, pack, frame))
      }
    },
  }
}

function framesOf(broken: FoundInPacks['broken'], pack: number): readonly number[] {
  const frames = broken.get(pack)
  return frames === undefined ? [] : frames === null ? [wholePack] : [...frames]
}

function unnamed(backup: OpenBaseBackup, pack: number, frame: number): PageProblem {
  const object = backup.pack(pack).key
  const what = frame === wholePack ? 'it cannot be read' : `frame ${frame} is not what was stored`
  return { code: 'integrity', object, pack, frame: frame === wholePack ? null : frame, message: what }
}
