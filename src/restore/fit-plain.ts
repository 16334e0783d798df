import { open, type FileHandle } from 'node:fs/promises'
import type { LeavableSpan } from '../dump/plain-reach.ts'
import { Failure } from '../kernel/failure.ts'
import type { StagedDump } from './staged-dump.ts'

/** What may be left out of a plain dump on its way to psql. */
export interface FitRequest {
  readonly noOwner: boolean
  readonly noPrivileges: boolean
}

export interface FitJudgement {
  /** Why psql must not be given this file. */
  readonly refusals: readonly string[]
  readonly hints: readonly string[]
  /** What is left out that would act on more than the database psql is given. */
  readonly warnings: readonly string[]
}

/**
 * Whether psql can be given a staged plain dump. psql does whatever it reads, wherever that leads: what acts on anything but the target database is either of the
 * known kind that `pg_dump --create` writes, which `leaveOut` takes away, or the file is refused. Archives are always fit.
 */
export function judgePlain({ content }: Pick<StagedDump, 'content'>): FitJudgement {
  const refusals: string[] = []
  const hints: string[] = []
  const suspicious = content?.suspicious ?? []
  if (suspicious.length > 0) {
    refusals.push(`this SQL file contains psql commands that pg_dump does not write; psql would run them on this machine: ${suspicious.slice(0, 3).join(', ')}`)
    hints.push('look at the file; remove those lines if they are not yours')
  }
  const reach = content?.reach ?? null
  if (reach === null) return { refusals, hints, warnings: [] }
  if (reach.outside.length > 0) {
    refusals.push(`this SQL file acts on more than one database; psql would change the server with it: ${reach.outside.slice(0, 3).join(' · ')}`)
    hints.push(
      'dump the one database again, without --create: tidemark backup, or pg_dump --format=custom',
      'or look at the file, and remove what is not of that database',
    )
  }
  return { refusals, hints, warnings: reach.database === null ? [] : [leftOutOf(reach.database, reach.aboutDatabase)] }
}

function leftOutOf(database: string, texts: readonly string[]): string {
  return `the file names a database of its own, "${database}" (pg_dump --create): left out of what is restored: ${texts.slice(0, 3).join(' ')}${texts.length > 3 ? ' …' : ''}`
}

/** Rejects (`target-unsafe`) unless psql can be given the dump. */
export function requireFit(staged: Pick<StagedDump, 'content'>): void {
  const { refusals, hints } = judgePlain(staged)
  const [first, ...others] = refusals
  if (first !== undefined) throw new Failure('target-unsafe', first, { hints: [...others, ...hints] })
}

/**
 * Overwrites with spaces, in the staged copy, the statements that must not reach the server or are not wanted; lines keep their numbers. Returns what a person should know.
 * Doing it twice comes to the same.
 */
export async function fitPlain(staged: StagedDump, { noOwner, noPrivileges }: FitRequest): Promise<readonly string[]> {
  requireFit(staged)
  const unwanted = (staged.content?.reach?.leavable ?? []).filter(({ on }) => on === 'database' || (on === 'owner' ? noOwner : noPrivileges))
  if (unwanted.length === 0) return []
  await using file = await open(staged.path, 'r+')
  for (const span of unwanted) await blank(file, span)
  return judgePlain(staged).warnings
}

const lineFeed = 10
const space = 32

async function blank(file: FileHandle, { from, to }: LeavableSpan): Promise<void> {
  const bytes = Buffer.alloc(to - from)
  const { bytesRead } = await file.read(bytes, 0, bytes.length, from)
  // The scan read these very bytes; a statement that is cut in the wrong place would be worse than none.
  const [first = 0, last = 0] = [bytes[0], bytes.at(-1)]
  const isWhole = first === space || first === 92 || (/[a-z]/i.test(String.fromCharCode(first)) && last === 59)
  if (bytesRead !== bytes.length || !isWhole) throw new Error(`no statement stands at byte ${from} of the staged dump`)
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== lineFeed) bytes[at] = space
  const { bytesWritten } = await file.write(bytes, 0, bytes.length, from)
  if (bytesWritten !== bytes.length) throw new Error(`the staged dump could not be written at byte ${from}`)
}
