import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Failure } from '../kernel/failure.ts'

/** What to do where the work directory has too little room. */
export const workDirectoryHint = 'choose another with TIDEMARK_WORK_DIR=/path/with/space'

/** What this account may still write to the file system on which the directory lies, in bytes. */
export async function freeBytesAt(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory, { bigint: true })
  return Number(bavail * bsize)
}

/** Refuses (`space-low`) when the stage's file system has less than `bytes` free. `what` says what is to be put there, and how sure that number is. */
export async function requireStageSpace(
  stage: string,
  { bytes, what, hints = [workDirectoryHint] }: { readonly bytes: number; readonly what: string; readonly hints?: readonly string[] },
): Promise<void> {
  const free = await freeBytesAt(stage)
  if (free >= bytes) return
  throw new Failure(
    'space-low',
    `the work directory ${dirname(stage)} has ${mebibytes(Math.floor, free)} MiB free; ${what} ${mebibytes(Math.ceil, bytes)} MiB`,
    {
      hints,
    },
  )
}

function mebibytes(round: (value: number) => number, bytes: number): number {
  return round(bytes / 1_048_576)
}
