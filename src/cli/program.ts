import { Command, type CommanderError } from 'commander'
import { toolVersion } from '../kernel/version.ts'
import { backupCommand } from './commands/backup.ts'
import { configCommand } from './commands/config.ts'
import { deleteCommand } from './commands/delete.ts'
import { demoCommand } from './commands/demo.ts'
import { doctorCommand } from './commands/doctor.ts'
import { drillCommand } from './commands/drill.ts'
import { initCommand } from './commands/init.ts'
import { latestCommand } from './commands/latest.ts'
import { listCommand } from './commands/list.ts'
import { pinCommand, unpinCommand } from './commands/pin.ts'
import { repoCommand } from './commands/repo.ts'
import { restoreCommand } from './commands/restore.ts'
import { showCommand } from './commands/show.ts'
import { undoCommand } from './commands/undo.ts'
import { verifyCommand } from './commands/verify.ts'

/** Commands of the contract that later versions bring: named, so that nobody takes a typo for a missing feature. */
const laterCommands = ['wal', 'expire', 'rotate', 'cleanup', 'stats', 'status', 'health', 'copy', 'export', 'key', 'audit', 'notify', 'daemon', 'install'] as const

/** The whole command line. Definitions are light; what a command does is loaded when it runs. */
export function createProgram(): Command {
  const program = new Command('tidemark')
    .description('PostgreSQL backup and disaster recovery: the backups you have already restored.')
    .version(toolVersion, '-V, --version')
    .showHelpAfterError('(see: tidemark --help)')
    .addHelpText(
      'after',
      `
Without a configuration file, DATABASE_URL is enough:
  DATABASE_URL=postgres://app@db.example.com/shop tidemark backup
  tidemark list
  tidemark restore latest --test
  tidemark drill

Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 partial, 10 no repository, 11 locked, 12 key, 13 integrity,
            14 target not reachable, 15 unsafe target refused, 130 cancelled`,
    )
  const commands = [
    initCommand(),
    doctorCommand(),
    demoCommand(),
    backupCommand(),
    listCommand(),
    showCommand(),
    latestCommand(),
    verifyCommand(),
    restoreCommand(),
    undoCommand(),
    drillCommand(),
    pinCommand(),
    unpinCommand(),
    deleteCommand(),
    repoCommand(),
    configCommand(),
  ]
  for (const command of commands) program.addCommand(command)
  for (const name of laterCommands) {
    program
      .command(name, { hidden: true })
      .allowUnknownOption()
      .allowExcessArguments()
      .action(() => {
        program.error(`error: "tidemark ${name}" comes with a later version`, { exitCode: 2, code: 'tidemark.later' })
      })
  }
  exitWithUsageCode(program)
  return program
}

/** Commander ends with 1 where the contract says 2: every mistake in the command line is a usage error. */
function exitWithUsageCode(command: Command): void {
  command.exitOverride((error: CommanderError) => {
    process.exit(error.exitCode === 0 ? 0 : 2)
  })
  for (const sub of command.commands) exitWithUsageCode(sub)
}
