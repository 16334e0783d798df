import { resolve } from 'node:path'
import { utc } from '../../kernel/clock.ts'
import { Failure } from '../../kernel/failure.ts'
import type { Secret } from '../../kernel/secret.ts'
import { openKeyring } from '../../repository/keys/keyring.ts'
import { formatRecoveryKit, type KitRepository } from '../../repository/keys/recovery-kit.ts'
import { requireSafePlace, writeSecretFile } from '../../repository/keys/secret-file.ts'
import { readKit } from '../read-keys.ts'
import type { Workspace } from '../workspace.ts'
import { kitRepository, lookAtRepositories } from './key-repositories.ts'

export interface PrintKitOptions {
  readonly repositories?: readonly string[]
  /** A file that is not there yet; left out: `text` is the result. */
  readonly output?: string
  readonly dryRun: boolean
}

export interface PrintedKit {
  readonly root: string
  readonly repositories: readonly KitRepository[]
  /** Where it was written. */
  readonly file: string | null
  /** The whole page, where no file was asked for. */
  readonly text: Secret | null
  readonly dryRun: boolean
}

/** The recovery kit again, with every repository that it opens, as they are configured now. Throws `key-missing`. */
export async function printKit(workspace: Workspace, options: PrintKitOptions): Promise<PrintedKit> {
  const { settings, context, machine } = workspace
  const { kitFile } = settings.encryption
  if (kitFile === null)
    throw new Failure('key-missing', 'the recovery kit is printed from itself: nobody else has its secrets', {
      hints: ['--kit FILE, or a file with its two secrets, typed from paper'],
    })
  const kit = await readKit(kitFile, context)
  await using stack = new AsyncDisposableStack()
  const found = await lookAtRepositories(workspace, stack, options.repositories)
  const output = options.output === undefined ? null : resolve(machine.cwd, options.output)
  const repositories: KitRepository[] = []
  for (const { settings: own, storage, repository, state } of found) {
    if (output !== null) await requireSafePlace(output, storage)
    if (repository === null || state !== 'sealed') continue
    // Named is only what it opens.
    await openKeyring(repository, { kit }, context)
    repositories.push(kitRepository(repository, own))
  }
  if (repositories.length === 0)
    throw new Failure('key-missing', 'no configured repository is sealed', { hints: ['name the one it is of: --repo PATH or --repo s3://bucket/prefix'] })
  const page = formatRecoveryKit(kit, { repositories, date: utc(context.clock.now()).slice(0, 10) })
  if (output !== null && !options.dryRun) await writeSecretFile(output, page)
  return { root: kit.rootKey.verifyKey.text, repositories, file: output, text: output === null && !options.dryRun ? page : null, dryRun: options.dryRun }
}
