import { Command } from 'commander'
import { formatUtc, printable } from '../render/format.ts'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'

interface PinFlags extends GlobalFlags {
  backup?: string
  reason: string
  dryRun?: boolean
}

export function pinCommand(): Command {
  const command = new Command('pin')
    .description('keep a backup for ever')
    .argument('[backup]', 'id, unique beginning of an id, name, file or "latest"')
    .option('--backup <id>', 'a backup, whatever it is called')
    .option('--reason <text>', 'why; shown by list', 'kept by hand')
    .option('--cluster <name>', 'the cluster it belongs to')
    .option('--dry-run', 'show what would be pinned, and where, and change nothing')
    .addHelpText('after', '\nExample:\n  tidemark pin latest --reason "before the migration to v5"')
  return addRepositoryFlags(command).action((wanted: string | undefined, flags: PinFlags) => change('pin', wanted, flags))
}

export function unpinCommand(): Command {
  const command = new Command('unpin')
    .description('let retention and delete treat a backup like any other again')
    .argument('[backup]', 'id, unique beginning of an id, name, file or "latest"')
    .option('--backup <id>', 'a backup, whatever it is called')
    .option('--reason <text>', 'why', 'no longer needed')
    .option('--cluster <name>', 'the cluster it belongs to')
    .option('--dry-run', 'show what would be unpinned, and where, and change nothing')
  return addRepositoryFlags(command).action((wanted: string | undefined, flags: PinFlags) => change('unpin', wanted, flags))
}

async function change(kind: 'pin' | 'unpin', wanted: string | undefined, flags: PinFlags): Promise<void> {
  await runAction(flags, async (runtime) => {
    const { pinBackup, planPin } = await import('../../api/change-backups.ts')
    const options = { wanted, backup: flags.backup, cluster: flags.cluster, reason: flags.reason }
    if (flags.dryRun === true) {
      const plan = await planPin(await runtime.workspace(), kind, options)
      runtime.output.document({ plan })
      for (const line of plan.lines) runtime.output.line(printable(line))
      return runtime.output.line('Nothing was changed.')
    }
    const changed = await pinBackup(await runtime.workspace(), kind, options)
    runtime.output.document(changed)
    runtime.output.line(
      `${runtime.output.paint('green', '✓')} ${changed.id} (${formatUtc(changed.endedAt)} UTC) is ${kind === 'pin' ? 'pinned' : 'no longer pinned'}`,
    )
  })
}
