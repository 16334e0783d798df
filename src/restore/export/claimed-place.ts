import { rmdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { isThere } from '../base/target-directory.ts'

/** A place that is ours alone to fill. Disposed of before `complete` was called, what was written there is removed again; where that cannot be, it is said. */
export interface ClaimedPlace extends AsyncDisposable {
  /** Gives these files their names, in this order. Everything else must be durable. */
  complete(names: readonly { readonly from: string; readonly to: string }[]): Promise<void>
}

/** Behind the name of a file that is not complete. */
export const partialSuffix = '.tidemark-partial'

/** The directories that must be made so that this one is there, itself first. */
export async function missingDirectories(path: string): Promise<readonly string[]> {
  const missing: string[] = []
  for (let each = path; !(await isThere(each)); each = dirname(each)) missing.push(each)
  return missing
}

/** Removes directories that we made, as far as nothing is in them. */
export async function removeEmpty(directories: readonly string[]): Promise<void> {
  for (const directory of directories) {
    try {
      await rmdir(directory)
    } catch (error) {
      if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(systemCodeOf(error) ?? '')) throw error
    }
  }
}

/** A failure to tidy up must not hide why there was something to tidy up. */
export async function tidyUp(place: string, remove: () => Promise<void>, { emit }: Pick<Context, 'emit'>): Promise<void> {
  try {
    await remove()
  } catch (error) {
    emit({ type: 'warning', code: 'clean-up-failed', message: `what was exported to ${place}, and is not complete, could not be removed: ${messageOf(error)}` })
  }
}
