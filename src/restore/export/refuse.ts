import { Failure } from '../../kernel/failure.ts'
import type { ExportPlan } from './export-request.ts'

/** Throws `target-unsafe` where the plan has refusals. */
export function refuse({ backup, target, refusals }: ExportPlan): void {
  if (refusals.length === 0) return
  throw new Failure('target-unsafe', `backup ${backup} is not exported to ${target}: ${refusals.join('; ')}`, {
    hints: ['see the whole plan: the same command with --dry-run'],
  })
}
