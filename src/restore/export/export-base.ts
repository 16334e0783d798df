import type { Context } from '../../kernel/context.ts'
import { makeDurable } from '../base/make-durable.ts'
import { claimDirectory } from './claim-directory.ts'
import { exportDirectory } from './export-directory.ts'
import type { BaseExportRequest, Exported } from './export-request.ts'
import { exportTar } from './export-tar.ts'
import { planBaseExport } from './plan-base-export.ts'
import { refuse } from './refuse.ts'

/**
 * Writes a base backup as `pg_basebackup` would have left it: the whole story. Every page is checked on its way. Where it fails or is stopped, what was written is removed; where it is
 * killed, a marker and temporary names say that what is there is not complete.
 */
export async function exportBase(request: BaseExportRequest, context: Context): Promise<Exported> {
  const begunMs = context.clock.monotonicMs()
  const { directory, format } = request
  const planned = await planBaseExport(request, context)
  const { plan } = planned
  if (request.dryRun) return { plan, result: null }
  refuse(plan)

  const places = format === 'directory' ? plan.tablespaces.map(({ to }) => to) : []
  await using claim = await claimDirectory(directory, places, context)
  const written = await (format === 'directory' ? exportDirectory : exportTar)(request, planned, context)
  await makeDurable([directory, ...places], context)
  context.signal.throwIfAborted()
  await claim.complete(written.names)

  const durationSeconds = (context.clock.monotonicMs() - begunMs) / 1_000
  const { outputs, writtenBytes } = written
  // pg_verifybackup reads archives from 18 on, and cannot look into WAL that lies in one.
  const check = ['pg_verifybackup', ...(format === 'tar' ? ['--no-parse-wal'] : []), directory]
  return { plan, result: { target: directory, outputs, writtenBytes, check, warnings: plan.warnings, durationSeconds } }
}
