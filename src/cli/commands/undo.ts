import { Command } from 'commander'
import { quoteIdentifier } from '../../postgres/identifiers.ts'
import { printable } from '../render/format.ts'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'

export function undoCommand(): Command {
  const command = new Command('undo')
    .description('put back what "restore --replace" replaced, or drop what "restore" created')
    .argument('[run]', 'the restore to undo (default: the newest that replaced a database)')
    .option('--cluster <name>', 'the cluster')
    .option('--server <url>', 'the server it was restored on, when it is not the configured one (a URL or env:NAME)')
    .option('--dry-run', 'show the plan and change nothing')
    .option('-y, --yes', 'do not ask')
    .addHelpText('after', '\nExamples:\n  tidemark undo --dry-run\n  tidemark undo\n\nWhat is set aside is kept under another name, which the plan states.')
  return addRepositoryFlags(command).action(async (run: string | undefined, flags: GlobalFlags & { dryRun?: boolean; yes?: boolean; server?: string }) => {
    await runAction(flags, async (runtime) => {
      const { output } = runtime
      const { undoRestore } = await import('../../api/undo-restore.ts')
      const outcome = await undoRestore(await runtime.workspace(), {
        dryRun: flags.dryRun === true,
        ...(run === undefined ? {} : { run }),
        ...(flags.server === undefined ? {} : { server: flags.server }),
        ...(flags.cluster === undefined ? {} : { cluster: flags.cluster }),
        approve: async (plan) => runtime.confirm(`${plan.lines.join('\n')}\nGo on?`, { yes: flags.yes }),
      })
      output.document(outcome)
      if (outcome.warnings.length > 0) runtime.exitCode = 3
      for (const line of outcome.plan.lines) output.line(printable(line))
      for (const refusal of outcome.plan.refusals) output.line(`${output.paint('red', '✗')} ${printable(refusal)}`)
      if (!outcome.done && outcome.plan.refusals.length > 0) runtime.exitCode = 15
      output.line(outcome.done ? `${output.paint('green', '✓')} undone` : 'Nothing was changed.')
      const { setAside } = outcome.plan
      if (outcome.done && setAside !== null)
        output.line(`  when nobody needs "${printable(setAside)}" any more: DROP DATABASE ${printable(quoteIdentifier(setAside))};`)
    })
  })
}
