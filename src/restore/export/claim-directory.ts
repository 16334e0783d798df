import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { Failure, systemCodeOf } from '../../kernel/failure.ts'
import { isThere, lookAtTarget, syncDirectory } from '../base/target-directory.ts'
import { missingDirectories, removeEmpty, tidyUp, type ClaimedPlace } from './claimed-place.ts'

/** While this file is there, what lies beside it is not complete. */
const marker = 'tidemark-export.partial'

/** Why the directory cannot be filled: only one that is empty, or not there, can. Null where it can. Changes nothing. */
export async function whyNotEmpty(directory: string): Promise<string | null> {
  if (await isThere(join(directory, marker)))
    return `an export to ${directory} is under way or was killed; where none is, remove what it left and repeat: rm -r ${directory}`
  const found = await lookAtTarget(directory)
  const otherwise = 'name a directory that is empty or not there yet'
  switch (found.kind) {
    case 'absent':
    case 'empty':
      return null
    case 'half':
      return `in ${directory} a restore was interrupted; ${otherwise}`
    case 'cluster':
      return `${directory} is a data directory${found.runningPid === null ? '' : ', and a server is running there'}; ${otherwise}`
    case 'other':
      return `${directory}: ${found.why}; ${otherwise}`
  }
}

/**
 * Makes the directory where it is not there, and marks it: of two exports that begin at the same time one rejects with `target-unsafe`. `beside` are further directories, empty or not there yet, which
 * are filled with it.
 */
export async function claimDirectory(directory: string, beside: readonly string[], context: Context): Promise<ClaimedPlace> {
  const missing = await missingDirectories(directory)
  const missingBeside = new Map<string, readonly string[]>()
  for (const path of beside) missingBeside.set(path, await missingDirectories(path))
  await mkdir(directory, { recursive: true, mode: 0o700 })
  try {
    await using file = await open(join(directory, marker), 'wx', 0o600)
    await file.writeFile('What lies here is being exported by Tidemark, and is not complete.\n')
    await file.sync()
  } catch (error) {
    await tidyUp(directory, () => removeEmpty(missing), context)
    if (systemCodeOf(error) !== 'EEXIST') throw error
    throw new Failure('target-unsafe', `another export to ${directory} is under way`, { cause: error })
  }
  let isComplete = false
  const remove = async (): Promise<void> => {
    for (const [path, made] of missingBeside) {
      await removeContent(path)
      await removeEmpty(made)
    }
    // The marker goes last: as long as anything is there, it says what that is.
    await removeContent(directory)
    await rm(join(directory, marker), { force: true })
    await removeEmpty(missing)
  }
  return {
    complete: async (names) => {
      for (const { from, to } of names) {
        await rename(join(directory, from), join(directory, to))
        await syncDirectory(dirname(join(directory, to)))
      }
      await rm(join(directory, marker))
      isComplete = true
      await syncDirectory(directory)
    },
    [Symbol.asyncDispose]: async () => {
      if (!isComplete) await tidyUp(directory, remove, context)
    },
  }
}

async function removeContent(directory: string): Promise<void> {
  if (!(await isThere(directory))) return
  for (const name of await readdir(directory, { encoding: 'buffer' })) {
    if (name.toString('latin1') !== marker) await rm(Buffer.concat([Buffer.from(`${directory}/`), name]), { recursive: true, force: true })
  }
}
