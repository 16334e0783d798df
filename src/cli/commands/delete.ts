import { Command } from 'commander'
import { Failure } from '../../kernel/failure.ts'
import { formatBytes, printable } from '../render/format.ts'
import { errorOf } from '../render/output.ts'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'

interface DeleteFlags extends GlobalFlags {
  backup?: string
  reason: string
  dryRun?: boolean
  yes?: boolean
}

export function deleteCommand(): Command {
  const command = new Command('delete')
    .description('delete one backup, by plan; the last good one and pinned ones are refused')
    .argument('[backup]', 'id, unique beginning of an id, name or file')
    .option('--backup <id>', 'a backup, whatever it is called')
    .option('--reason <text>', 'why; recorded', 'deleted by hand')
    .option('--cluster <name>', 'the cluster it belongs to')
    .option('--dry-run', 'show the plan and change nothing')
    .option('-y, --yes', 'do not ask')
    .addHelpText('after', '\nExample:\n  tidemark delete 20261121-110412-7f3k --dry-run')
  return addRepositoryFlags(command).action(async (wanted: string | undefined, flags: DeleteFlags) => {
    await runAction(flags, async (runtime) => {
      const { output } = runtime
      const { deleteBackup } = await import('../../api/change-backups.ts')
      const outcome = await deleteBackup(await runtime.workspace(), {
        wanted,
        backup: flags.backup,
        cluster: flags.cluster,
        reason: flags.reason,
        dryRun: flags.dryRun === true,
        approve: async (plans) => {
          const lines = plans.map(
            ({ repository, plan }) =>
              `${plan.backup} of ${plan.database === null ? 'a whole cluster' : `database "${printable(plan.database)}"`} from repository ${repository} (${printable(plan.fileName)}, ${formatBytes(plan.freedBytes)})`,
          )
          await runtime.confirm(`Delete ${lines.join(' and ')}?`, { yes: flags.yes })
        },
      })
      const refusals = outcome.plans.flatMap(({ plan }) => plan.refusals)
      const refused = outcome.deleted || refusals.length === 0 ? {} : errorOf(new Failure('target-unsafe', `it would be refused: ${refusals.join('; ')}`))
      output.document({ ...outcome, ...refused })
      for (const { repository, plan } of outcome.plans) {
        for (const warning of plan.warnings) output.line(`${output.paint('yellow', '!')} ${warning}`)
        for (const refusal of plan.refusals) output.line(`${output.paint('red', '✗')} would be refused: ${printable(refusal)}`)
        output.line(
          `${outcome.deleted ? `${output.paint('green', '✓')} deleted` : 'would delete'} ${plan.backup} from ${repository}: ${namedObjects(plan.objects)} (${formatBytes(plan.freedBytes)})`,
        )
      }
      if (!outcome.deleted) output.line('Nothing was changed.')
      if (!outcome.deleted && refusals.length > 0) runtime.exitCode = 15
    })
  })
}

/** A base backup may have thousands of packs of its own. */
const mostNamed = 8

function namedObjects(objects: readonly string[]): string {
  const named = objects.slice(0, mostNamed).map((key) => printable(key))
  return `${named.join(', ')}${objects.length > mostNamed ? ` and ${objects.length - mostNamed} more objects` : ''}`
}
