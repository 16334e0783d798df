import type { ClusterSettings } from '../config/settings.ts'
import { messageOf } from '../kernel/failure.ts'
import { runHook, splitWords, type HookCommand } from '../restore/hooks.ts'
import type { RestoreOptions } from './restore-options.ts'
import type { Workspace } from './workspace.ts'

/** Commands around a restore; null = none. */
export interface RestoreHooks {
  readonly before: HookCommand | null
  readonly after: HookCommand | null
  readonly onFailure: HookCommand | null
}

/** From the options, else from the cluster's configuration. */
export function hooksOf(options: RestoreOptions, cluster: ClusterSettings | null): RestoreHooks {
  return {
    before: options.before === undefined ? (cluster?.hooks.beforeRestore ?? null) : splitWords(options.before),
    after: options.after === undefined ? (cluster?.hooks.afterRestore ?? null) : splitWords(options.after),
    onFailure: cluster?.hooks.onFailure ?? null,
  }
}

/** Hooks get PATH and HOME, and none of our credentials. */
export function hookEnvironment(workspace: Workspace): Readonly<Record<string, string>> {
  const { env } = workspace.machine
  return Object.fromEntries(
    ['PATH', 'HOME', 'LANG', 'TZ', 'DOCKER_HOST', 'XDG_RUNTIME_DIR'].flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])),
  )
}

/** Runs what is to run when something failed, also after a cancellation. A failing hook is said and does not hide why it was run. */
export async function runHooksAfterFailure(hooks: readonly (HookCommand | null)[], workspace: Workspace): Promise<void> {
  const unstoppable = { ...workspace.context, signal: new AbortController().signal }
  for (const hook of hooks) {
    if (hook === null) continue
    await runHook('failure', hook, hookEnvironment(workspace), unstoppable).catch((error: unknown) =>
      workspace.context.emit({ type: 'warning', code: 'hook-failed', message: messageOf(error) }),
    )
  }
}
