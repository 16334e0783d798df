import type { Settings } from '../config/settings.ts'
import { loadSettings, type SettingsFlags } from '../config/load.ts'
import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import type { KeysAtHand } from '../repository/keys/keys-at-hand.ts'
import type { Machine } from './machine.ts'
import type { Workspace } from './workspace.ts'

/**
 * Loads the settings that the machine and the flags add up to, and tells what of them is worth telling. Rejects with `config-invalid` and its kin (exit 2), also when only one of
 * the clusters cannot be used, unless the verb is about what it names alone: a restore must know every database that it may not touch.
 */
export async function openWorkspace(
  machine: Machine,
  flags: SettingsFlags,
  context: Context,
  options: { readonly everyCluster: boolean } = { everyCluster: true },
): Promise<Workspace> {
  const settings = await loadSettings({ flags, env: machine.env, cwd: machine.cwd, home: machine.home, cpus: machine.cpus, isRoot: machine.isRoot })
  const [wrong] = Object.values(settings.unusable)
  if (options.everyCluster && wrong !== undefined) throw new Failure('config-invalid', wrong.message, { hints: wrong.hints })
  if (wrong !== undefined) context.emit({ type: 'note', message: wrong.message })
  for (const note of settings.notes) context.emit({ type: 'note', message: note })
  for (const warning of settings.warnings) context.emit({ type: 'warning', code: 'configuration', message: warning })
  const { work, cache } = settings.directories
  let keys: Promise<KeysAtHand> | undefined
  return {
    settings: flags.repositories === undefined ? settings : withChosenRepositories(settings),
    machine: { ...machine, workDirectory: work ?? machine.workDirectory, cacheDirectory: cache ?? machine.cacheDirectory },
    context,
    keys: () =>
      (keys ??= readKeysOf(settings, context).catch((error: unknown) => {
        // A program that goes on may mend it.
        keys = undefined
        throw error
      })),
  }
}

async function readKeysOf({ encryption }: Settings, context: Context): Promise<KeysAtHand> {
  const { readKeys } = await import('./read-keys.ts')
  return readKeys(encryption, context)
}

/** Where repositories were chosen, clusters name just those; readers without a cluster see no others either. */
function withChosenRepositories(settings: Settings): Settings {
  const chosen = new Set(Object.values(settings.clusters).flatMap((cluster) => cluster.repositories))
  if (chosen.size === 0) return settings
  return { ...settings, repositories: Object.fromEntries(Object.entries(settings.repositories).filter(([name]) => chosen.has(name))) }
}
