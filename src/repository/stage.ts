import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rename, rm, writeFile } from 'node:fs/promises'
import { platform, userInfo } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import type { Context } from '../kernel/context.ts'
import { Failure, isOutOfSpace, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { ownProcess, startMark } from '../postgres/process-identity.ts'

/** A directory of one run below the work directory, which only our account can enter. Removed when its scope ends. */
export interface Stage extends AsyncDisposable {
  readonly path: string
}

/** Kept beside the staged files, so that whoever comes later can tell whether the run still lives. */
const ownerSchema = z.object({
  format: z.literal('tidemark-stage/1'),
  run: z.string(),
  pid: z.number().int(),
  mark: z.string(),
  /** PID namespace: containers that share a work directory do not see each other's processes. Null where there are none. */
  place: z.string().nullable(),
})
type Owner = z.infer<typeof ownerSchema>

const ownerFile = 'tidemark-stage.json'
/** `tidemark-<run>-<random>`; runs are named by `newBackupId`. */
const stageName = /^tidemark-\d{8}-\d{6}-[0-9a-z]{4}-[A-Za-z0-9]{6}$/
/** A stage whose owner cannot be looked for (other boot, other container, killed before it signed) is left alone for so long. */
const unknownOwnerHours = 7 * 24

/** Makes the stage of a run, after removing those of dead runs, whose space this one may need. */
export async function makeStage(workDirectory: string, run: string, context: Context): Promise<Stage> {
  await mkdir(workDirectory, { recursive: true }).catch(cannotUse(workDirectory))
  await sweepStages(workDirectory, context)
  const path = await mkdtemp(join(workDirectory, `tidemark-${run}-`)).catch(cannotUse(workDirectory))
  const remove = () => rm(path, { recursive: true, force: true })
  try {
    await chmod(path, 0o700)
    const owner: Owner = { format: 'tidemark-stage/1', run, ...(await ownProcess()), place: await pidNamespace() }
    // A sweeper may look at any moment, and must see the whole file or none.
    await writeFile(join(path, `${ownerFile}.incoming`), `${JSON.stringify(owner)}\n`, { mode: 0o600 })
    await rename(join(path, `${ownerFile}.incoming`), join(path, ownerFile))
  } catch (error) {
    await remove()
    return cannotUse(workDirectory)(error)
  }
  return { path, [Symbol.asyncDispose]: remove }
}

function cannotUse(workDirectory: string): (error: unknown) => never {
  return (error) => {
    if (systemCodeOf(error) === undefined) throw error
    if (isOutOfSpace(error))
      throw new Failure('space-low', `there is no space left in the work directory ${workDirectory}`, {
        cause: error,
        hints: [`df -h ${workDirectory}`, 'or use another: TIDEMARK_WORK_DIR=/directory'],
      })
    throw new Failure('config-invalid', `the work directory ${workDirectory} cannot be used: ${messageOf(error)}`, {
      cause: error,
      hints: ['name one that can be written to: TIDEMARK_WORK_DIR=/directory', `ls -ld ${workDirectory}`],
    })
  }
}

/**
 * Removes the stages of runs that are gone (killed, or the machine was restarted): what they hold are copies of whole databases.
 * Stages of living runs and of other accounts are left alone. What cannot be removed fails no run, and is said. Rejects with `config-invalid` where the work directory itself cannot be used.
 */
export async function sweepStages(workDirectory: string, context: Context): Promise<readonly string[]> {
  const swept: string[] = []
  for (const name of await readdir(workDirectory).catch(noneIfAbsent).catch(cannotUse(workDirectory))) {
    if (!stageName.test(name)) continue
    const path = join(workDirectory, name)
    try {
      if (!(await isOrphan(path, context))) continue
      await removeStage(path)
      swept.push(path)
      context.emit({ type: 'note', message: `removed ${path}, which a run that was killed had left` })
    } catch (error) {
      context.emit({ type: 'warning', code: 'clean-up-failed', message: `${path}, left by a run that was killed, could not be removed: ${messageOf(error)}` })
    }
  }
  return swept
}

async function isOrphan(path: string, context: Context): Promise<boolean> {
  const stats = await lstat(path).catch(undefinedIfAbsent)
  // In a work directory that all may write to, others could put links and folders under our names.
  if (stats === undefined || !stats.isDirectory() || stats.uid !== userInfo().uid) return false
  const owner = await readOwner(path)
  if (owner !== null && owner.place === (await pidNamespace()) && sameBoot(owner.mark, (await ownProcess()).mark))
    return (await startMark(owner.pid)) !== owner.mark
  return context.clock.now().epochMilliseconds - stats.mtimeMs > unknownOwnerHours * 3_600_000
}

/** Linux marks begin with the boot's id; elsewhere a mark is a time, which no other boot repeats. */
function sameBoot(one: string, other: string): boolean {
  return platform() !== 'linux' || one.split('/')[0] === other.split('/')[0]
}

/** The owner's name goes last, so that a removal that is interrupted is taken up again. */
async function removeStage(path: string): Promise<void> {
  for (const name of await readdir(path).catch(noneIfAbsent)) if (name !== ownerFile) await rm(join(path, name), { recursive: true, force: true })
  await rm(path, { recursive: true, force: true })
}

/** Null for a file that is missing or not ours to understand: its owner is unknown then. */
async function readOwner(path: string): Promise<Owner | null> {
  const text = await readFile(join(path, ownerFile), 'utf8').catch(undefinedIfAbsent)
  if (text === undefined) return null
  try {
    return ownerSchema.parse(JSON.parse(text))
  } catch {
    // Written by another version or torn by a full disk: the age decides.
    return null
  }
}

async function pidNamespace(): Promise<string | null> {
  return platform() === 'linux' ? readlink('/proc/self/ns/pid') : null
}

function undefinedIfAbsent(error: unknown): undefined {
  if (systemCodeOf(error) === 'ENOENT') return undefined
  throw error
}

function noneIfAbsent(error: unknown): [] {
  if (systemCodeOf(error) === 'ENOENT') return []
  throw error
}
