import { Command, Option } from 'commander'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'

export function listCommand(): Command {
  const command = new Command('list')
    .description('show the backups with their state')
    .argument('[cluster]', 'only this cluster')
    .addOption(new Option('--category <class>', 'only this class').choices(['daily', 'weekly', 'monthly']))
    .addOption(new Option('--type <type>', 'only this type').choices(['dump', 'full', 'incr']))
    .option('--no-safety', 'leave out what restores took of what they replaced')
    .option('--cluster <name>', 'same as the argument')
    .addHelpText('after', '\nExamples:\n  tidemark list\n  tidemark list nexo --category weekly\n  tidemark list --json')
  return addRepositoryFlags(command).action(
    async (
      cluster: string | undefined,
      flags: GlobalFlags & { category?: 'daily' | 'weekly' | 'monthly'; type?: 'dump' | 'full' | 'incr'; safety: boolean },
    ) => {
      await runAction(flags, async (runtime) => {
        const { listBackups } = await import('../../api/list-backups.ts')
        const { configuredNames } = await import('../../api/workspace.ts')
        const { oneCluster } = await import('../../api/subjects.ts')
        const { renderBackups } = await import('../render/backups.ts')
        const name = oneCluster(cluster, flags.cluster)
        const workspace = await runtime.workspace({ everyCluster: false })
        const { backups, latest, warnings } = await listBackups(workspace, {
          safety: flags.safety,
          ...(name === undefined ? {} : { cluster: name }),
          ...(flags.category === undefined ? {} : { category: flags.category }),
          ...(flags.type === undefined ? {} : { type: flags.type }),
        })
        runtime.output.document({ backups, windows: [], warnings })
        if (!runtime.output.json) renderBackups(runtime.output, backups, { latest, severalClusters: configuredNames(workspace).length > 1 })
        if (warnings.length > 0) runtime.exitCode = 3
      })
    },
  )
}
