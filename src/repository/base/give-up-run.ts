import type { Context } from '../../kernel/context.ts'
import { isFailure, messageOf } from '../../kernel/failure.ts'
import type { Lease } from '../lease.ts'
import type { Repository } from '../repository.ts'
import { removeRunObjects } from './run-objects.ts'

/**
 * Ends a run that failed: what it stored of base backups is removed, unless it turns out to be committed, or another run took over: that one sees to it. Never rejects, for that would hide what the
 * run failed with; what cannot be done now is said, and is done by the next run.
 */
export async function giveUpRun(repository: Repository, lease: Lease, run: string, context: Context): Promise<void> {
  try {
    if ((await lease.abandon()) === 'abandoned') await removeRunObjects(repository.storage, { cluster: lease.state().cluster, run })
    await lease.end(context.signal.aborted ? 'cancelled' : 'failed')
  } catch (error) {
    if (isFailure(error, 'locked')) return
    context.emit({
      type: 'warning',
      code: 'clean-up-failed',
      message: `what this run left in "${repository.name}" could not be removed now (${messageOf(error)}); the next run sees to it`,
    })
  }
}
