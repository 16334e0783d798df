import { unusedParameters } from './client-environment.ts'
import type { ClientTools, ToolSearch } from './client-tools.ts'
import { discoverClientTools } from './client-tools.ts'
import type { DockerAccess } from './container.ts'
import { openSessionByRoute, type RoutedSession } from './route.ts'
import type { SessionOptions } from './session.ts'
import type { ConnectionTarget } from './target.ts'

/** How this machine gets at servers: where client programs are looked for, and how docker is called. */
export interface Reach {
  /** The value of PATH. */
  readonly toolPath: string
  /** Searched before it. */
  readonly toolDirectories: readonly string[]
  readonly docker: DockerAccess
  /** Instead of looking at every program of the host anew: what was found before, say. */
  readonly discover?: (search: ToolSearch) => Promise<readonly ClientTools[]>
}

/** A session, the target as it is really reached, and the client programs that can be used for it. The caller disposes of `session`. */
export interface Reached extends Omit<RoutedSession, 'tools'> {
  readonly target: ConnectionTarget
  readonly tools: readonly ClientTools[]
}

export async function reachServer(target: ConnectionTarget, reach: Reach, options: SessionOptions): Promise<Reached> {
  for (const name of unusedParameters(target))
    options.emit?.({
      type: 'note',
      message: `the connection parameter "${name}" is of another driver and has no effect here${name === 'sslaccept' ? '; to check the certificate: sslmode=verify-full' : ''}`,
    })
  const search = { path: reach.toolPath, extraDirs: reach.toolDirectories, ...(options.signal === undefined ? {} : { signal: options.signal }) }
  const look = () => (reach.discover ?? discoverClientTools)(search)
  // While the connection is made; a failure is met below, or does not matter when the connection fails too.
  const looking = target.container === null ? look() : null
  looking?.catch(() => undefined)
  const routed = await openSessionByRoute(target, { ...options, docker: reach.docker })
  try {
    const tools = routed.tools ?? (await (looking ?? look()))
    return { ...routed, target: routed.route.target, tools }
  } catch (error) {
    await routed.session[Symbol.asyncDispose]()
    throw error
  }
}
