import { Command } from 'commander'
import type { CollectedCluster } from '../../api/collect-garbage.ts'
import { parseDuration } from '../../config/units.ts'
import { Failure } from '../../kernel/failure.ts'
import { formatBytes, formatDuration, printable } from '../render/format.ts'
import { errorOf, type Output } from '../render/output.ts'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'

interface CollectFlags extends GlobalFlags {
  dryRun?: boolean
  grace?: string
}

export function collectInRepository(): Command {
  const command = new Command('gc')
    .description('remove what no base backup needs any more, and move what little is needed out of packs that are mostly garbage')
    .option('--cluster <name>', 'only this cluster')
    .option('--grace <duration>', 'how long packs stay out of which something was moved: a restore may be reading them (default: 24h)')
    .option('--dry-run', 'show what would be removed and moved, and change nothing')
    .addHelpText(
      'after',
      `
Deleting a backup removes what only that backup needs. What is left for this command: what runs that were killed or lost their lease stored, what could
not be removed when it was deleted, and packs of which less than a quarter is needed. While a base backup cannot be opened, nothing is removed: exit code 15.

Examples:
  tidemark repo gc --dry-run
  tidemark repo gc --repo offsite --grace 48h`,
    )
  return addRepositoryFlags(command).action(async (flags: CollectFlags) => {
    await runAction(flags, async (runtime) => {
      const { output } = runtime
      const { collectGarbageOf } = await import('../../api/collect-garbage.ts')
      const dryRun = flags.dryRun === true
      const collected = await collectGarbageOf(await runtime.workspace(), {
        dryRun,
        ...(flags.cluster === undefined ? {} : { cluster: flags.cluster }),
        ...(flags.grace === undefined ? {} : { graceSeconds: parseDuration(flags.grace) }),
      })
      const [failed] = collected.flatMap(({ failure }) => (failure === null ? [] : [failure]))
      output.document({
        repositories: collected.map(({ failure, ...each }) => ({
          ...each,
          failure: failure === null ? null : { code: failure.code, message: failure.message },
        })),
        dryRun,
        ...(failed === undefined ? {} : errorOf(failed)),
      })
      for (const each of collected) renderCluster(output, each, dryRun)
      if (dryRun) output.line('Nothing was changed.')
      if (failed instanceof Failure) runtime.exitCode = failed.exitCode
    })
  })
}

function renderCluster(output: Output, { repository, cluster, plan, failure, ...done }: CollectedCluster, dryRun: boolean): void {
  const name = `${printable(repository)}, cluster ${printable(cluster)}`
  for (const warning of plan.warnings) output.line(`${output.paint('yellow', '!')} ${name}: ${printable(warning)}`)
  if (failure !== null) return output.line(`${output.paint('red', '✗')} ${name}: ${printable(failure.message)}`)
  const { unnamed, left, sparse, waiting } = plan
  const dead = sparse.reduce((bytes, object) => bytes + object.bytes - object.liveBytes, 0)
  const due = waiting.filter(({ dueInSeconds }) => dueInSeconds <= 0)
  const parts = dryRun
    ? [
        ...(unnamed.count > 0 ? [`would remove ${unnamed.count} objects (${formatBytes(unnamed.bytes)})`] : []),
        ...(due.length > 0 ? ['would remove what was moved before'] : []),
        ...(sparse.length > 0 ? [`would move what is needed out of ${sparse.length} packs (${formatBytes(dead)} become free)`] : []),
        ...(left.count > 0 ? [`would let ${left.count} objects wait for their removal (${formatBytes(left.bytes)})`] : []),
      ]
    : [
        ...(done.removedObjects > 0 ? [`removed ${done.removedObjects} objects`] : []),
        ...(done.movedObjects > 0 ? [`moved what is needed out of ${done.movedObjects} packs (${formatBytes(dead)} become free)`] : []),
      ]
  const [next] = waiting.filter(({ dueInSeconds }) => dueInSeconds > 0).toSorted((a, b) => a.dueInSeconds - b.dueInSeconds)
  if (next !== undefined) parts.push(`${next.objects.length} objects wait, the first for ${formatDuration(next.dueInSeconds)} more`)
  else if (!dryRun && done.waitingObjects > 0) parts.push(`${done.waitingObjects} objects wait for their removal`)
  output.line(`${output.paint('green', '✓')} ${name}: ${parts.length === 0 ? 'no garbage' : parts.join(', ')}`)
}
