import { Command, CommanderError } from 'commander'
import { Failure } from '../kernel/failure.ts'
import { toolVersion } from '../kernel/version.ts'
import { backupCommand } from './commands/backup.ts'
import { configCommand } from './commands/config.ts'
import { deleteCommand } from './commands/delete.ts'
import { demoCommand } from './commands/demo.ts'
import { doctorCommand } from './commands/doctor.ts'
import { drillCommand } from './commands/drill.ts'
import { exportCommand } from './commands/export.ts'
import { initCommand } from './commands/init.ts'
import { latestCommand } from './commands/latest.ts'
import { keyCommand } from './commands/key.ts'
import { listCommand } from './commands/list.ts'
import { pinCommand, unpinCommand } from './commands/pin.ts'
import { repoCommand } from './commands/repo.ts'
import { restoreCommand } from './commands/restore.ts'
import { showCommand } from './commands/show.ts'
import { undoCommand } from './commands/undo.ts'
import { verifyCommand } from './commands/verify.ts'
import { outliveClosedOutput } from './closed-output.ts'
import { createOutput, failureJson } from './render/output.ts'
import { addRepositoryFlags } from './runtime.ts'

/** Commands of the contract that later versions bring: named, so that nobody takes a typo for a missing feature. */
const laterCommands = [
  'wal',
  'expire',
  'rotate',
  'cleanup',
  'stats',
  'status',
  'health',
  'copy',
  'audit',
  'notify',
  'daemon',
  'install',
  'check',
  'runbook',
  'checklist',
  'erase',
  'logs',
  'report',
  'pause',
  'resume',
] as const

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
  const repo = repoCommand()
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
    exportCommand(),
    drillCommand(),
    pinCommand(),
    unpinCommand(),
    deleteCommand(),
    repo,
    keyCommand(),
    configCommand(),
  ]
  for (const command of commands) program.addCommand(command)
  for (const name of laterCommands) announceLater(program, name)
  throwAtMistakes(program)
  return program
}

function announceLater(parent: Command, name: string): void {
  const command = parent
    .command(name, { hidden: true })
    .allowUnknownOption()
    .allowExcessArguments()
    .action(() => {
      const full = [parent.parent === null ? [] : [parent.name()], name].flat().join(' ')
      command.error(`error: "tidemark ${full}" comes with a later version`, { exitCode: 2, code: 'tidemark.later' })
    })
}

/** Commander would end the process here and now; thrown, the mistake can be said in JSON too. */
function throwAtMistakes(command: Command): void {
  command.exitOverride((error: CommanderError) => {
    throw error
  })
  for (const sub of command.commands) throwAtMistakes(sub)
}

/** Runs the command line (without node and script). Every mistake in it is a usage error: exit code 2, and with `--json` a document like any other failure. */
export async function runProgram(words: readonly string[]): Promise<void> {
  outliveClosedOutput(process)
  const program = createProgram()
  try {
    // `--replace=drop` has a value and `--replace` has none, so that `restore --replace latest` means what it says.
    const plain = words.map((word) => (word === '--replace=drop' ? '--replace-drop' : word === '--replace=swap' ? '--replace' : word))
    await program.parseAsync([...flagsBehindVerb(program, plain)], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return
    process.exitCode = 2
    const { stdout, stderr } = process
    // Commander has said it on stderr.
    const output = createOutput({ stdout, stderr, json: words.includes('--json'), colour: false, quiet: true, verbose: false })
    output.document({ error: failureJson(usageFailure(error)) })
  }
}

function usageFailure(error: CommanderError): Failure {
  const message = error.code === 'commander.help' ? 'a command is missing' : error.message.replace(/^error: /, '')
  return new Failure('usage-invalid', message, { hints: ['tidemark --help'] })
}

/** `tidemark --json list` means `tidemark list --json`: flags that every command has may stand before the verb. */
function flagsBehindVerb(program: Command, words: readonly string[]): readonly string[] {
  const common = addRepositoryFlags(new Command()).options
  const verbs: string[] = []
  const flags: string[] = []
  let command = program
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? ''
    const option = common.find((each) => each.long === word.split('=', 1)[0])
    const verb = command.commands.find((each) => each.name() === word)
    if (verb !== undefined) {
      verbs.push(word)
      command = verb
    } else if (option !== undefined && command.commands.length > 0) {
      const hasValue = option.required && !word.includes('=')
      flags.push(...words.slice(index, index + (hasValue ? 2 : 1)))
      if (hasValue) index += 1
    } else return [...verbs, ...(verbs.length === 0 ? [] : flags), ...words.slice(index)]
  }
  return [...verbs, ...(command.commands.length > 0 ? [] : flags)]
}
