import type { Context } from '../kernel/context.ts'
import { chooseClientTools, type ToolChoice } from '../postgres/client-tools.ts'
import type { Reached } from '../postgres/reach.ts'
import { requireFit } from './fit-plain.ts'
import { requireRoomInContainer } from './load-in-container.ts'
import type { StagedDump } from './staged-dump.ts'

/** The client programs that can load this dump into this server. */
export function chooseLoadTools(admin: Reached, staged: StagedDump): ToolChoice {
  const serverMajor = Math.floor(admin.session.serverVersionNum / 10_000)
  const archiveMajor = Number(/^\d+/.exec(staged.content?.dumpVersion ?? '')?.[0] ?? 0)
  return chooseClientTools(admin.tools, { serverMajor, purpose: 'restore', ...(archiveMajor === 0 ? {} : { archiveMajor }) })
}

/** Finds out what would keep the dump from being loaded, while there is still something that nobody has dropped: what is in it, the client programs, and their room. */
export async function requireLoadable(
  admin: Reached,
  staged: StagedDump,
  request: { readonly run: string; readonly tables: readonly string[] },
  context: Context,
): Promise<void> {
  requireFit(staged)
  const access = chooseLoadTools(admin, staged).tools.container
  if (access === null) return
  await requireRoomInContainer(access, { staged, selected: request.tables.length > 0, run: request.run, target: admin.target }, context)
}
