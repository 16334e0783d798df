import { Command } from 'commander'
import { formatUtc } from '../render/format.ts'
import { addGlobalFlags, runAction, type GlobalFlags } from '../runtime.ts'

export function pinCommand(): Command {
  const command = new Command('pin')
    .description('keep a backup for ever')
    .argument('<backup>', 'id, unique beginning of an id, name, file name or "latest"')
    .option('--reason <text>', 'why; shown by list', 'kept by hand')
    .option('--cluster <name>', 'the cluster it belongs to')
    .addHelpText('after', '\nExample:\n  tidemark pin latest --reason "before the migration to v5"')
  return addGlobalFlags(command).action((backup: string, flags: GlobalFlags & { reason: string }) => change('pin', backup, flags))
}

export function unpinCommand(): Command {
  const command = new Command('unpin')
    .description('let retention and delete treat a backup like any other again')
    .argument('<backup>', 'id, unique beginning of an id, name, file name or "latest"')
    .option('--reason <text>', 'why', 'no longer needed')
    .option('--cluster <name>', 'the cluster it belongs to')
  return addGlobalFlags(command).action((backup: string, flags: GlobalFlags & { reason: string }) => change('unpin', backup, flags))
}

async function change(kind: 'pin' | 'unpin', backup: string, flags: GlobalFlags & { reason: string }): Promise<void> {
  await runAction(flags, async (runtime) => {
    const { pinBackup } = await import('../../api/change-backups.ts')
    const changed = await pinBackup(await runtime.workspace(), kind, {
      backup,
      reason: flags.reason,
      ...(flags.cluster === undefined ? {} : { cluster: flags.cluster }),
    })
    runtime.output.document(changed)
    runtime.output.line(`${runtime.output.paint('green', '✓')} ${changed.id} (${formatUtc(changed.endedAt)} UTC) is ${kind === 'pin' ? 'pinned' : 'no longer pinned'}`)
  })
}
