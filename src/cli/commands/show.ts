import { Command } from 'commander'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'

export function showCommand(): Command {
  const command = new Command('show')
    .description('everything about one backup')
    .argument('[backup]', 'id, unique beginning of an id, name, file, "latest", or a cluster, whose latest is meant (default: latest)')
    .option('--backup <id>', 'a backup, whatever it is called')
    .option('--cluster <name>', 'the cluster it belongs to')
    .addHelpText('after', '\nExamples:\n  tidemark show\n  tidemark show 20261121 --json')
  return addRepositoryFlags(command).action(async (wanted: string | undefined, flags: GlobalFlags & { backup?: string }) => {
    await runAction(flags, async (runtime) => {
      const { showBackup } = await import('../../api/show-backup.ts')
      const { renderBackup } = await import('../render/backups.ts')
      const shown = await showBackup(await runtime.workspace({ everyCluster: false }), {
        ...(wanted === undefined ? {} : { wanted }),
        ...(flags.backup === undefined ? {} : { backup: flags.backup }),
        ...(flags.cluster === undefined ? {} : { cluster: flags.cluster }),
      })
      runtime.output.document({ ...shown.backup, open: shown.open, base: shown.base, warnings: shown.warnings })
      if (!runtime.output.json) renderBackup(runtime.output, shown)
      if (shown.warnings.length > 0) runtime.exitCode = 3
    })
  })
}
