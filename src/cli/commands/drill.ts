import { Command, Option } from 'commander'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'
import { parseCount } from '../option-values.ts'

export interface DrillFlags extends GlobalFlags {
  server?: string
  keep?: boolean
  jobs?: number
  backup?: string
  dryRun?: boolean
}

export function drillCommand(): Command {
  const command = new Command('drill')
    .description('restore a backup somewhere disposable, compare its content, run the checks, record the proof')
    .argument('[cluster]', 'the cluster, or a backup')
    .argument('[backup]', 'backup to prove (default: latest)')
    .option('--cluster <name>', 'the cluster')
    .option('--backup <id>', 'a backup, whatever it is called')
    .addOption(new Option('--server <where>', 'same (the source server), embedded (a private one), a URL or env:NAME'))
    .option('--jobs <n>', 'parallel restore workers', parseCount)
    .option('--keep', 'leave the restored copy for inspection')
    .option('--dry-run', 'show which backup would be restored where and what would be asked, and change nothing')
    .addHelpText(
      'after',
      '\nExamples:\n  tidemark drill\n  tidemark drill nexo latest --server embedded\n  tidemark drill --json\n\nExit codes: 0 proven, 3 partial, 1 failed, 13 unreadable, 15 refused (rows without definitions).',
    )
  return addRepositoryFlags(command).action(async (first: string | undefined, second: string | undefined, flags: DrillFlags) => {
    await runAction(flags, async (runtime) => {
      const { runDrill } = await import('../run-drill.ts')
      await runDrill(
        runtime,
        [first, second].filter((word) => word !== undefined),
        flags,
      )
    })
  })
}
