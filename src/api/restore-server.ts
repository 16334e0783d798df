import { Failure } from '../kernel/failure.ts'
import { readSystemIdentifier } from '../postgres/system-identifier.ts'
import { isOnServerOf, type AdminServer } from './admin-server.ts'
import type { Origin } from './restore-origin.ts'
import type { Workspace } from './workspace.ts'

/** Whether the backup came from this server: by system identifier where both are known, else by host and port. */
export async function isSameServer(server: AdminServer, origin: Origin): Promise<boolean> {
  const source = origin.manifest?.source
  if (source === null || source === undefined) return true
  if (source.systemIdentifier !== null) {
    const found = await readSystemIdentifier(server.reached.session)
    if (found !== null) return found === source.systemIdentifier
  }
  return source.host === server.target.host && source.port === server.target.port
}

/** The wanted name, when a configured cluster on this very server uses it, however its host is spelled there. A server that cannot be asked counts as this one. */
export async function protectedOn(workspace: Workspace, server: AdminServer, wanted: string): Promise<ReadonlySet<string>> {
  for (const cluster of Object.values(workspace.settings.clusters)) {
    if (![cluster.target.database, ...cluster.dump.databases].includes(wanted)) continue
    const isSpelledAlike = cluster.target.host === server.target.host && cluster.target.port === server.target.port
    if (isSpelledAlike || (await isOnServerOf(server.reached.session, cluster.target, workspace).catch(assumeSame))) return new Set([wanted])
  }
  return new Set()
}

function assumeSame(error: unknown): true {
  if (!(error instanceof Failure)) throw error
  return true
}
