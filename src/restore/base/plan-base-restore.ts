import type { Context } from '../../kernel/context.ts'
import { requireWholeCluster } from '../../repository/base/whole-cluster.ts'
import type { BaseRestorePlan, BaseRestoreRequest } from './base-restore-request.ts'
import { judgeTablespaces, mapTablespaces } from './map-tablespaces.ts'
import { freeBytesAt, lookAtTarget, type TargetState } from './target-directory.ts'

/** Finds out what the restore would do, and what stands in its way. Reads the leaves of the backup, and changes nothing. */
export async function planBaseRestore(request: BaseRestoreRequest, context: Context): Promise<BaseRestorePlan> {
  const { backup, directory, owner } = request
  const { root } = backup
  const { files, sizeBytes } = await requireWholeCluster(backup, context)
  const target = await lookAtTarget(directory)
  const tablespaces = mapTablespaces(request)
  const { mode, refusals } = judgeTarget(request, target)
  refusals.push(...(await judgeTablespaces(request, { tablespaces, isNew: mode === 'new' })))
  const freeBytes = await freeBytesAt(directory)
  // Where something is there already, some of it stays.
  const isTight = mode === 'new' && freeBytes !== null && freeBytes < sizeBytes
  if (isTight && request.spaceCheck) refusals.push(`it needs ${sizeBytes} bytes, and ${freeBytes} are free`)
  return {
    action: 'restore-directory',
    backup: root.backup.id,
    cluster: root.cluster,
    takenAt: root.backup.endedAt,
    postgresVersion: root.backup.postgresVersion,
    directory,
    mode,
    files,
    sizeBytes,
    freeBytes,
    owner: owner?.name ?? null,
    tablespaces,
    steps: describeSteps(request, mode, tablespaces.length),
    warnings: [...root.warnings, ...root.leftOut.map(({ what, why }) => `${what} is not in the backup: ${why}`)],
    refusals,
  }
}

function judgeTarget({ backup, delta }: BaseRestoreRequest, target: TargetState): { readonly mode: BaseRestorePlan['mode']; readonly refusals: string[] } {
  const { root } = backup
  switch (target.kind) {
    case 'absent':
    case 'empty':
      return { mode: 'new', refusals: [] }
    case 'half': {
      const isSame = target.marker.backup === root.backup.id && target.marker.repository === root.repository
      if (isSame || delta) return { mode: 'resume', refusals: [] }
      return { mode: 'resume', refusals: [`a restore of another backup, ${target.marker.backup}, was interrupted there; --delta makes it this one`] }
    }
    case 'cluster': {
      if (target.runningPid !== null) return { mode: 'delta', refusals: [`a server is running there (postmaster.pid: ${target.runningPid}); stop it first`] }
      if (!delta) return { mode: 'delta', refusals: ['it is a data directory; --delta brings it to the state of the backup, or name another directory'] }
      const { systemIdentifier } = target
      if (systemIdentifier !== null && systemIdentifier !== root.server.systemIdentifier)
        return {
          mode: 'delta',
          refusals: [`it is the data directory of another cluster (system identifier ${systemIdentifier}; the backup's is ${root.server.systemIdentifier})`],
        }
      return { mode: 'delta', refusals: [] }
    }
    case 'other':
      return { mode: 'new', refusals: [`${target.why}; name a directory that is empty or not there yet`] }
  }
}

function describeSteps({ backup, owner }: BaseRestoreRequest, mode: BaseRestorePlan['mode'], tablespaces: number): readonly string[] {
  const { server } = backup.root
  return [
    mode === 'new'
      ? 'make the directory, and mark it as half restored'
      : 'mark the directory as half restored, and take its pg_control away, so that no server starts in it',
    mode === 'new'
      ? 'fetch every page, check it, and write it'
      : 'compare every page that is there, fetch those that differ, and remove what does not belong there',
    ...(tablespaces > 0 ? [`put ${tablespaces} tablespaces where the map says, and link them`] : []),
    ...(owner === null ? [] : [`give everything to "${owner.name}"`]),
    'switch archiving, standby settings and subscriptions off in postgresql.auto.conf: the copy must not write into what belongs to the original, nor take from it',
    'wait until everything is durable, then put pg_control in its place, and take the mark away',
    `PostgreSQL ${server.major} will recover from ${server.startLsn} to ${server.stopLsn} when it is started`,
  ]
}
