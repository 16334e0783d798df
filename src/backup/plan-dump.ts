import type { Context } from '../kernel/context.ts'
import { Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { checkDumpRights } from '../postgres/dump-rights.ts'
import { readClusterLog } from '../repository/commit-log.ts'
import { requireFreeLease } from '../repository/lease.ts'
import type { Repository } from '../repository/repository.ts'
import { chooseNames } from './choose-names.ts'
import type { DumpRequest } from './dump-request.ts'
import { extensionFor } from './file-names.ts'
import { isPartial } from './left-out.ts'
import { openSource } from './open-source.ts'
import { effectiveCompression } from './pg-dump-arguments.ts'

/** What a dump would do now. Plain data, for `--dry-run`. */
export interface DumpPlan {
  readonly database: string
  readonly fileName: string
  /** `pg_dump 15.18` */
  readonly tool: string
  readonly tables: number
  readonly warnings: readonly string[]
}

/**
 * Goes the way of `takeDump` up to its first write: server, client programs, rights, name and lease, and rejects as it would. Where some
 * of the repositories could not be written, that is a warning of the plan.
 */
export async function planDump(request: DumpRequest, repositories: readonly Repository[], context: Context): Promise<DumpPlan> {
  const day = context.clock.now().toZonedDateTimeISO(request.timeZone).toPlainDate()
  await using source = await openSource(request, context)
  const warnings: string[] = []
  const rights = (await checkDumpRights(source.session)).filter(({ severity }) => severity === 'error')
  const [lacking] = rights
  // Of a part it is not known here which of these objects it needs.
  if (lacking !== undefined && !isPartial(request.selection))
    throw new Failure('permission-denied', `database "${request.database}" cannot be dumped: ${rights.map(({ what }) => what).join('; ')}`, {
      hints: rights.flatMap(({ fixSql }) => fixSql?.split('\n') ?? []),
    })
  for (const { what } of rights) warnings.push(`${what}; the dump fails if it needs them`)

  const { format } = request
  const compression = effectiveCompression(format, request.compression, source.dumpTool.major)
  const plan = { database: source.facts.database, tool: `pg_dump ${source.dumpTool.version}`, tables: source.tables.length, warnings }
  // Repositories that the run would create hold no names yet.
  const [first] = repositories
  if (first === undefined) return { ...plan, fileName: `${request.stem}${extensionFor(format, compression)}` }
  const names = await chooseNames(request, repositories, { format, compression, day }, context)
  const failures: Failure[] = []
  for (const repository of repositories) {
    try {
      // Where it is not certain to whom to seal, nothing is stored.
      repository.keyring?.readers()
      const state = await readClusterLog(repository.storage, request.cluster, context)
      await requireFreeLease(repository.storage, state, request, context)
      names.requireFree(names.keysIn(repository), state)
    } catch (error) {
      context.signal.throwIfAborted()
      if (!isFailure(error)) throw error
      failures.push(error)
      warnings.push(`repository "${repository.name}" would be left out: ${messageOf(error)}`)
    }
  }
  const [reason] = failures
  if (reason !== undefined && failures.length === repositories.length) throw reason
  return { ...plan, fileName: names.keysIn(first).fileName }
}
