import { lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Failure, messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { lookAtTarget, syncDirectory } from '../base/target-directory.ts'

/** While this file is there, what lies beside it is not complete. */
const marker = 'tidemark-export.partial'
/** Behind the name of a file that is not complete. */
export const partialSuffix = '.tidemark-partial'

/** A place that is ours alone to fill. Disposed of before `complete` was called, what was written there is removed again. */
export interface ClaimedPlace extends AsyncDisposable {
  /** Gives these files their names, in this order, and takes the marker away. Everything else must be durable. */
  complete(names: readonly { readonly from: string; readonly to: string }[]): Promise<void>
}

/** Why the directory cannot be filled: only one that is empty, or not there, can. Null where it can. Changes nothing. */
export async function whyNotEmpty(directory: string): Promise<string | null> {
  if (await isThere(join(directory, marker))) return `an export to ${directory} is under way or was killed; where none is, remove what it left and repeat: rm -r ${directory}`
  const found = await lookAtTarget(directory)
  switch (found.kind) {
    case 'absent':
    case 'empty':
      return null
    case 'half':
      return `in ${directory} a restore was interrupted; name a directory that is empty or not there yet`
    case 'cluster':
      return `${directory} is a data directory${found.runningPid === null ? '' : ', and a server is running there'}; name a directory that is empty or not there yet`
    case 'other':
      return `${directory}: ${found.why}; name a directory that is empty or not there yet`
  }
}

/** Makes the directory where it is not there, and marks it: of two exports that begin at the same time one rejects with `target-unsafe`. `beside` are further directories to be removed with it. */
export async function claimDirectory(directory: string, beside: readonly string[] = []): Promise<ClaimedPlace> {
  const made = await mkdir(directory, { recursive: true, mode: 0o700 })
  const madeBeside = new Map<string, boolean>()
  for (const path of beside) madeBeside.set(path, !(await isThere(path)))
  try {
    await using file = await open(join(directory, marker), 'wx', 0o600)
    await file.writeFile('What lies here is being exported by Tidemark, and is not complete.\n')
    await file.sync()
  } catch (error) {
    if (systemCodeOf(error) !== 'EEXIST') throw error
    throw new Failure('target-unsafe', `another export to ${directory} is under way`, { cause: error })
  }
  let isComplete = false
  return {
    complete: async (names) => {
      for (const { from, to } of names) {
        await rename(join(directory, from), join(directory, to))
        await syncDirectory(dirname(join(directory, to)))
      }
      isComplete = true
      await rm(join(directory, marker))
      await syncDirectory(directory)
    },
    [Symbol.asyncDispose]: async () => {
      if (isComplete) return
      for (const [path, isOurs] of madeBeside) await removeContent(path, isOurs)
      // The marker goes last: as long as anything is there, it says what that is.
      await removeContent(directory, made !== undefined)
    },
  }
}

/** The same for single files or folders of a directory that may hold others: their temporary names are made at once, and none of them may be there. Rejects with `target-unsafe`. */
export async function claimFiles(directory: string, names: readonly { readonly name: string; readonly isFolder: boolean }[]): Promise<ClaimedPlace> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const made: string[] = []
  const remove = async (): Promise<void> => {
    for (const path of made) await rm(path, { recursive: true, force: true })
  }
  try {
    for (const { name, isFolder } of names) {
      const path = join(directory, `${name}${partialSuffix}`)
      if (isFolder) await mkdir(path, { mode: 0o700 })
      else await makeFile(path)
      made.push(path)
    }
  } catch (error) {
    await remove()
    if (systemCodeOf(error) !== 'EEXIST') throw error
    throw new Failure('target-unsafe', `another export to ${directory} is under way or was killed: ${messageOf(error)}`, { cause: error, hints: ['where none is, remove that file and repeat'] })
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
      if (!isComplete) await remove()
    },
  }
}

async function makeFile(path: string): Promise<void> {
  await using _file = await open(path, 'wx', 0o600)
}

async function removeContent(directory: string, isOurs: boolean): Promise<void> {
  if (!(await isThere(directory))) return
  for (const name of await readdir(directory)) if (name !== marker) await rm(join(directory, name), { recursive: true, force: true })
  if (isOurs) await rm(directory, { recursive: true, force: true })
  else await rm(join(directory, marker), { force: true })
}

export async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error) ?? '')) return false
    throw error
  }
}
