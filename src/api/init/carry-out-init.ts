import { randomBytes } from 'node:crypto'
import { open, rename, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { Failure, systemCodeOf } from '../../kernel/failure.ts'
import { initRepositories, type InitializedRepository } from '../init-repositories.ts'
import type { Machine } from '../machine.ts'
import type { Workspace } from '../workspace.ts'
import { initKeys, type InitKeysOptions, type InitKeysOutcome } from '../keys/init-keys.ts'
import { load, withKit, type InitPlan } from './plan-init.ts'

export interface InitDone {
  /** Loaded from the files that were written: the first backup uses them. */
  readonly workspace: Workspace
  readonly repositories: readonly InitializedRepository[]
  /** Null where nothing was to be sealed. */
  readonly keys: InitKeysOutcome | null
}

/** Writes what was planned: secret file → configuration → repositories → recovery kit and keys. Refuses a plan that cannot work; then nothing was written. */
export async function carryOutInit(machine: Machine, plan: InitPlan, acknowledge: InitKeysOptions['acknowledge'], context: Context): Promise<InitDone> {
  requireUsable(plan)
  const { answers, secret, secretFile } = plan
  if (secretFile !== null && secret !== null) await writePrivate(secretFile, `${secret.reveal()}\n`, answers.force)
  try {
    await writePrivate(plan.configFile, plan.yaml, answers.force)
  } catch (error) {
    // A secret that no configuration refers to must not lie about.
    if (secretFile !== null && !answers.force) await unlink(secretFile)
    throw error
  }
  const workspace: Workspace = { settings: await load(machine, plan.configFile, answers.envFile), machine, context }
  const repositories = await initRepositories(workspace)
  const keys = answers.encrypt === true ? await initKeys(withKit(workspace, answers), { isWriteOnly: false, dryRun: false, acknowledge }) : null
  return { workspace, repositories, keys }
}

function requireUsable(plan: InitPlan): void {
  if (plan.usable) return
  const fails = plan.findings.filter((finding) => finding.severity === 'fail')
  const server = fails.find((finding) => ['connection', 'container', 'database'].includes(finding.check))
  const first = server ?? fails[0]
  throw new Failure(server === undefined ? 'storage-failed' : 'connection-failed', `nothing was written: ${first?.what ?? ''}`, {
    hints: fails.flatMap((finding) => finding.fix?.split('\n') ?? []),
    details: { result: { findings: plan.findings } },
  })
}

/** Whole or not at all, readable by this account only, whatever the umask. Without `replace`, an existing file is left alone even if it came this instant. */
async function writePrivate(path: string, text: string, replace: boolean): Promise<void> {
  const draft = replace ? join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`) : path
  try {
    await using file = await open(draft, 'wx', 0o600)
    await file.chmod(0o600)
    await file.writeFile(text)
    await file.sync()
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error
    if (systemCodeOf(error) === 'EEXIST') throw new Failure('name-taken', `${path} exists and is not overwritten`, { cause: error })
    await rm(draft, { force: true })
    throw new Failure('usage-invalid', `cannot write ${path}: ${systemCodeOf(error) ?? ''}`, { cause: error, hints: [`ls -ld ${dirname(path)}`] })
  }
  if (replace) await rename(draft, path)
}
