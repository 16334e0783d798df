import { Command } from 'commander'
import { addGlobalFlags, runAction, type GlobalFlags } from '../runtime.ts'

export function demoCommand(): Command {
  const command = new Command('demo')
    .description('see it work: a private PostgreSQL, a shop, a backup, an accident, a restore, a proof')
    .option('--keep', 'leave everything behind and say where it is')
    .addHelpText('after', '\nNeeds no Docker and no server of yours. Touches nothing outside its own temporary directory.')
  return addGlobalFlags(command).action(async (flags: GlobalFlags & { keep?: boolean }) => {
    await runAction(flags, async (runtime) => {
      const { runDemo } = await import('../demo/run-demo.ts')
      await runDemo(runtime, { keep: flags.keep === true })
    })
  })
}
