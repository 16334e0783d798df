import { Command, Option } from 'commander'
import { addGlobalFlags, runAction, type GlobalFlags } from '../runtime.ts'

export function listCommand(): Command {
  const command = new Command('list')
    .description('show the backups with their state')
    .argument('[cluster]', 'only this cluster')
    .addOption(new Option('--category <class>', 'only this class').choices(['daily', 'weekly', 'monthly']))
    .addOption(new Option('--type <type>', 'only this type').choices(['dump', 'full', 'incr']))
    .option('--cluster <name>', 'same as the argument')
    .addHelpText('after', '\nExamples:\n  tidemark list\n  tidemark list nexo --category weekly\n  tidemark list --json')
  return addGlobalFlags(command).action(
    async (cluster: string | undefined, flags: GlobalFlags & { category?: 'daily' | 'weekly' | 'monthly'; type?: 'dump' | 'full' | 'incr' }) => {
      await runAction(flags, async (runtime) => {
        const { listBackups } = await import('../../api/list-backups.ts')
        const { oneCluster } = await import('../../api/subjects.ts')
        const { renderBackups } = await import('../render/backups.ts')
        const name = oneCluster(cluster, flags.cluster)
        const backups = await listBackups(await runtime.workspace(), {
          ...(name === undefined ? {} : { cluster: name }),
          ...(flags.category === undefined ? {} : { category: flags.category }),
          ...(flags.type === undefined ? {} : { type: flags.type }),
        })
        runtime.output.document({ backups, windows: [] })
        if (!runtime.output.json) renderBackups(runtime.output, backups)
      })
    },
  )
}
