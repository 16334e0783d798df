import { constants } from 'node:fs'
import { access, statfs } from 'node:fs/promises'
import { checkSettings } from '../../config/describe.ts'
import { messageOf } from '../../kernel/failure.ts'
import type { Workspace } from '../workspace.ts'
import { mebibytes } from './check-repository.ts'
import type { ServerSeen } from './check-server.ts'
import type { Report } from './finding.ts'

/** What the configuration's own check finds; ignored variables and settings that do nothing yet among it. */
export function checkConfiguration(workspace: Workspace, report: Report): void {
  const { settings } = workspace
  for (const { severity, message } of checkSettings(settings)) {
    // Unencrypted connections are judged where the server was asked.
    if (/^cluster ".*": TLS mode /.test(message)) continue
    if (severity === 'error') report.add({ severity: 'fail', check: 'configuration', what: message, fix: 'tidemark config check' })
    else if (settings.notes.includes(message)) report.add({ severity: 'ok', check: 'configuration', what: message })
    else
      report.add({
        severity: 'warn',
        check: / has no effect: /.test(message) ? 'ignored-variable' : 'configuration',
        what: message,
        fix: / has no effect: /.test(message) ? 'tidemark config show   # where each setting comes from' : null,
      })
  }
}

/** Directory dumps, and archives that several workers restore, are staged in the work directory. */
export async function checkWorkDirectory(workspace: Workspace, servers: readonly ServerSeen[], report: Report): Promise<void> {
  const { workDirectory } = workspace.machine
  const clusters = Object.values(workspace.settings.clusters)
  try {
    await access(workDirectory, constants.W_OK | constants.X_OK)
    const { bavail, bsize } = await statfs(workDirectory, { bigint: true })
    const free = Number(bavail * bsize)
    const needed = Math.max(0, ...servers.map((server) => server.databaseBytes ?? 0))
    const text = `${mebibytes(free)} free in the work directory ${workDirectory}`
    if (free >= needed) return report.add({ severity: 'ok', check: 'work-directory', what: text })
    const staged = clusters.some((cluster) => cluster.dump.format === 'directory')
    report.add({
      severity: staged ? 'fail' : 'warn',
      check: 'work-directory',
      what: `${text}, and the largest cluster has ${mebibytes(needed)}`,
      why: staged ? 'directory dumps are staged there' : 'a parallel restore stages the archive there',
      fix: 'TIDEMARK_WORK_DIR=/path/with/room',
    })
  } catch (error) {
    report.add({
      severity: 'fail',
      check: 'work-directory',
      what: `the work directory ${workDirectory} cannot be used: ${messageOf(error)}`,
      fix: 'TIDEMARK_WORK_DIR=/path/that/can/be/written',
    })
  }
}
