import { Failure, type FailureCode } from '../kernel/failure.ts'
import { type ClientTool, installHints } from './client-tools.ts'
import { containerFailure } from './container.ts'
import { grantHint, placeOf, poolerHints } from './sql-failure.ts'
import type { ConnectionTarget } from './target.ts'

export interface ProcessEnd {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
}

/** What the end of a client program means, read from its messages (LC_ALL=C, so English). */
export function clientFailure(tool: ClientTool, end: ProcessEnd, lines: readonly string[], target: ConnectionTarget): Failure {
  const text = lines.join('\n')
  if (tool.container !== null) {
    const docker = containerFailure(tool.container.container, end.exitCode, text)
    if (docker !== null) return docker
  }
  const [code, hints] = judge(text, target)
  const ending = end.signal === null ? `ended with exit code ${end.exitCode}` : `was killed by ${end.signal}`
  const killed = end.signal === 'SIGKILL' || end.exitCode === 137 ? ['out of memory? see: dmesg | grep -i oom'] : []
  return new Failure(code, `${tool.name} of ${placeOf(target)} ${ending}${essence(lines)}`, {
    hints: [...hints, ...killed],
    details: { tool: tool.name, version: tool.version, exitCode: end.exitCode, signal: end.signal },
  })
}

/** The lines that say why, without the program's name; the last ones when none is marked as an error. */
function essence(lines: readonly string[]): string {
  const filled = lines.filter((line) => line.trim() !== '')
  const errors = filled.filter((line) => /\b(error|fatal|detail|hint|panic)\b:/i.test(line))
  const chosen = (errors.length > 0 ? errors.slice(-3) : filled.slice(-2)).map((line) =>
    line.replace(/^(pg_dump|pg_restore|psql|pg_dumpall): (error: )?/, '').trim(),
  )
  return chosen.length === 0 ? ' and said nothing' : `: ${chosen.join(' | ')}`
}

function judge(text: string, target: ConnectionTarget): readonly [FailureCode, readonly string[]] {
  const says = (pattern: RegExp) => pattern.test(text)
  if (says(/server version mismatch/)) {
    const major = Number(/server version: (\d+)/.exec(text)?.[1] ?? 0)
    return ['tool-missing', major === 0 ? [] : installHints(major)]
  }
  // pg_dump's --lock-wait-timeout is a statement_timeout around LOCK TABLE.
  if (says(/due to lock timeout/) || (says(/due to statement timeout/) && says(/LOCK TABLE/)))
    return ['lock-timeout', ['wait until the other session is done, or end it: SELECT pg_terminate_backend(PID)', 'or wait longer: raise the lock wait limit']]
  if (says(/row-level security/)) return ['permission-denied', [`as superuser: ALTER ROLE ${target.user} BYPASSRLS;`]]
  if (says(/permission denied/)) return ['permission-denied', [grantHint(/permission denied for .*/.exec(text)?.[0] ?? '', target)]]
  if (says(/No space left on device|Disk quota exceeded/)) return ['space-low', ["whose disk is full, the server's or ours? see: df -h"]]
  if (says(/unsupported startup parameter/)) return ['pooler-refused', poolerHints]
  if (says(/prepared statement ".*" does not exist/)) return ['pooler-refused', poolerHints]
  if (says(/database ".*" does not exist/)) return ['database-missing', ['list the databases: psql -l']]
  if (
    says(
      /server closed the connection|terminating connection|SSL SYSCALL error|connection to client lost|could not receive data from server|no connection to the server/,
    )
  ) {
    return ['connection-lost', ['was the server stopped or restarted, or the session ended by somebody?', 'its log says more']]
  }
  if (says(/password authentication failed|no password supplied|connection to server .* failed|could not connect to server|could not translate host name/)) {
    return ['connection-failed', ['check host, port, user and password']]
  }
  if (says(/canceling statement due to statement timeout/))
    return ['query-failed', [`allow the role longer statements: ALTER ROLE ${target.user} SET statement_timeout = 0`]]
  return ['tool-failed', []]
}
