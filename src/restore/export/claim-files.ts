import { mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { Failure, messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { isThere, syncDirectory } from '../base/target-directory.ts'
import { missingDirectories, partialSuffix, removeEmpty, tidyUp, type ClaimedPlace } from './claimed-place.ts'

/** Single files or folders of a directory that may hold others: their temporary names are made at once, and none of them may be there. Rejects with `target-unsafe`. */
export async function claimFiles(
  directory: string,
  names: readonly { readonly name: string; readonly isFolder: boolean }[],
  context: Context,
): Promise<ClaimedPlace> {
  const missing = await missingDirectories(directory)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const made: string[] = []
  const remove = async (): Promise<void> => {
    for (const path of made) await rm(path, { recursive: true, force: true })
    await removeEmpty(missing)
  }
  try {
    for (const { name, isFolder } of names) {
      const path = join(directory, `${name}${partialSuffix}`)
      await (isFolder ? mkdir(path, { mode: 0o700 }) : makeFile(path))
      made.push(path)
    }
  } catch (error) {
    await tidyUp(directory, remove, context)
    if (systemCodeOf(error) !== 'EEXIST') throw error
    throw new Failure('target-unsafe', `another export to ${directory} is under way or was killed: ${messageOf(error)}`, {
      cause: error,
      hints: ['where none is, remove that file and repeat'],
    })
  }
  let isComplete = false
  return {
    complete: async (renames) => {
      for (const { to } of renames) {
        if (await isThere(join(directory, to))) throw new Failure('target-unsafe', `${join(directory, to)} is there by now, and is not overwritten`)
      }
      for (const { from, to } of renames) await rename(join(directory, from), join(directory, to))
      isComplete = true
      await syncDirectory(directory)
    },
    [Symbol.asyncDispose]: async () => {
      if (!isComplete) await tidyUp(directory, remove, context)
    },
  }
}

async function makeFile(path: string): Promise<void> {
  await using _file = await open(path, 'wx', 0o600)
}
