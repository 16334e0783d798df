import type { ClusterSettings } from '../config/settings.ts'
import { splitWords, type RestoreHooks } from '../restore/hooks.ts'
import type { RestoreOptions } from './restore-options.ts'

/** From the options, else from the cluster's configuration. They get PATH and HOME, and none of our credentials. */
export function hooksOf(options: RestoreOptions, cluster: ClusterSettings | null, env: Readonly<Record<string, string | undefined>>): RestoreHooks {
  return {
    before: options.before === undefined ? (cluster?.hooks.beforeRestore ?? null) : splitWords(options.before),
    after: options.after === undefined ? (cluster?.hooks.afterRestore ?? null) : splitWords(options.after),
    onFailure: cluster?.hooks.onFailure ?? null,
    environment: Object.fromEntries(
      ['PATH', 'HOME', 'LANG', 'TZ', 'DOCKER_HOST', 'XDG_RUNTIME_DIR'].flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])),
    ),
  }
}
