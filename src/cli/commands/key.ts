import { Command } from 'commander'
import { Failure } from '../../kernel/failure.ts'
import { collect } from '../option-values.ts'
import { addGlobalFlags, runAction, type GlobalFlags, type Runtime } from '../runtime.ts'

export function keyCommand(): Command {
  const command = new Command('key').description('who can read the backups: seal repositories, add and remove members, print the recovery kit')
  return command
    .addCommand(initKeysCommand())
    .addCommand(addCommand())
    .addCommand(rotateCommand())
    .addCommand(removeCommand())
    .addCommand(listCommand())
    .addCommand(kitCommand())
}

const hostKeyHelp = 'key file of this host (default: ~/.config/tidemark/host.key, as root /etc/tidemark/host.key)'

interface InitKeysFlags extends GlobalFlags {
  name?: string
  recipient?: string[]
  writeOnly?: boolean
  yes?: boolean
  kitStored?: boolean
  dryRun?: boolean
}

function initKeysCommand(): Command {
  const command = new Command('init')
    .description('make the recovery kit, the key of this host and the keyring of each repository; from then on everything is sealed')
    .option('--kit <file>', 'where the recovery kit is written, or lies already (default: tidemark-recovery-kit-<host>.txt here)')
    .option('--host-key <file>', hostKeyHelp)
    .option('--name <name>', 'name of this host among the members (default: the host name)')
    .option('--recipient <key>', 'somebody else who reads everything: age1… or NAME=age1…; may be repeated', collect)
    .option('--passphrase-file <file>', 'a passphrase reads everything, too: the file that holds it')
    .option('--write-only', 'this host backs up, and cannot read the rows that it stored')
    .option('--kit-stored', 'the recovery kit is stored where it is safe (instead of the question)')
    .option('-y, --yes', 'ask nothing, the same')
    .option('--dry-run', 'show what would be made, and make nothing')
    .addHelpText(
      'after',
      `
The recovery kit opens everything, also when this machine is gone: print it, put it where neither this machine nor the repository is, and
remove it from here. Nobody can make another one. A repository that holds backups in clear is refused: make a new one beside it.

Examples:
  tidemark key init
  tidemark key init --recipient ada=age1… --kit /media/usb/kit.txt
  tidemark key init --write-only --name db1 --kit-stored --json`,
    )
  return addGlobalFlags(command).action((flags: InitKeysFlags) =>
    runAction(flags, async (runtime) => {
      const { initKeys } = await import('../../api/keys/init-keys.ts')
      const { kitQuestion, renderInit } = await import('../render/keys.ts')
      const outcome = await initKeys(await runtime.workspace(), {
        ...(flags.repo === undefined ? {} : { repositories: await namedRepositories(runtime) }),
        ...(flags.name === undefined ? {} : { name: flags.name }),
        recipients: flags.recipient ?? [],
        isWriteOnly: flags.writeOnly === true,
        dryRun: flags.dryRun === true,
        acknowledge: ({ file, ending }) => runtime.confirm(kitQuestion(file), { yes: flags.yes === true || flags.kitStored === true, known: ending }),
      })
      runtime.output.document(outcome)
      renderInit(runtime.output, outcome, (await runtime.workspace()).settings)
    }),
  )
}

interface AddFlags extends GlobalFlags {
  host?: string
  request?: string
  recipient?: string[]
  name?: string
  writeOnly?: boolean
  dryRun?: boolean
}

function addCommand(): Command {
  const command = new Command('add')
    .description('add members to every sealed repository: hosts, recipients, a passphrase; with the recovery kit')
    .option('--kit <file>', 'the recovery kit: only it can change who belongs to a repository')
    .option('--host <name>', 'this machine, under this name: its key is made. Without the kit, with --root: prints the request to carry to it')
    .option('--request <file>', 'another host, by the line that it printed (or the line itself)')
    .option('--recipient <key>', 'age1… or NAME=age1…, who reads everything; may be repeated', collect)
    .option('--passphrase-file <file>', 'a passphrase that reads everything: the file that holds it')
    .option('--name <name>', 'with --passphrase-file: its name among the members (default: passphrase)')
    .option('--write-only', 'the host backs up, and cannot read the rows that it stored')
    .option('--host-key <file>', hostKeyHelp)
    .option('--root <key>', 'with --host and without the kit: the root key to trust, tidemark-root1…')
    .option('--dry-run', 'show what would be changed, and change nothing')
    .addHelpText(
      'after',
      `
Examples:
  tidemark key add --recipient ada=age1… --kit /media/usb/kit.txt
  tidemark key add --host db2 --write-only --kit /media/usb/kit.txt
  tidemark key add --host db2 --root tidemark-root1… > request.txt     # on db2, without the kit
  tidemark key add --request request.txt --kit /media/usb/kit.txt      # where the kit is`,
    )
  return addGlobalFlags(command).action((flags: AddFlags) =>
    runAction(flags, async (runtime) => {
      const { addMembers } = await import('../../api/keys/change-members.ts')
      const { renderChange } = await import('../render/keys.ts')
      const outcome = await addMembers(await runtime.workspace(), {
        ...(flags.repo === undefined ? {} : { repositories: await namedRepositories(runtime) }),
        ...(flags.host === undefined ? {} : { host: flags.host }),
        ...(flags.request === undefined ? {} : { request: flags.request }),
        ...(flags.name === undefined ? {} : { passphraseName: flags.name }),
        recipients: flags.recipient ?? [],
        isWriteOnly: flags.writeOnly === true,
        dryRun: flags.dryRun === true,
      })
      runtime.output.document(outcome)
      renderChange(runtime.output, outcome)
    }),
  )
}

interface ChangeFlags extends GlobalFlags {
  remove?: string[]
  dryRun?: boolean
}

function rotateCommand(): Command {
  const command = new Command('rotate')
    .description('make a new metadata key, and finish what an interrupted change left; with the recovery kit')
    .option('--kit <file>', 'the recovery kit')
    .option('--remove <name>', 'remove this member, too; may be repeated', collect)
    .option('--dry-run', 'show what would be changed, and change nothing')
    .addHelpText('after', '\nExample:\n  tidemark key rotate --kit /media/usb/kit.txt')
  return addGlobalFlags(command).action((flags: ChangeFlags) => runAction(flags, (runtime) => change(runtime, flags, flags.remove ?? [])))
}

function removeCommand(): Command {
  const command = new Command('remove')
    .description('remove members: nothing is sealed to them any more; with the recovery kit')
    .argument('<name...>', 'as tidemark key list shows them')
    .option('--kit <file>', 'the recovery kit')
    .option('--dry-run', 'show what would be changed, and change nothing')
    .addHelpText(
      'after',
      `
What somebody copied, and dumps that were sealed before, stay readable for who is removed: nobody can take that back.
Take new backups, and delete the old ones when their time has come.

Example:
  tidemark key remove db1 --kit /media/usb/kit.txt`,
    )
  return addGlobalFlags(command).action((names: string[], flags: ChangeFlags) => runAction(flags, (runtime) => change(runtime, flags, names)))
}

async function change(runtime: Runtime, flags: ChangeFlags, remove: readonly string[]): Promise<void> {
  const { rotateKeys } = await import('../../api/keys/change-members.ts')
  const { renderChange } = await import('../render/keys.ts')
  const outcome = await rotateKeys(await runtime.workspace(), {
    ...(flags.repo === undefined ? {} : { repositories: await namedRepositories(runtime) }),
    remove,
    dryRun: flags.dryRun === true,
  })
  runtime.output.document(outcome)
  renderChange(runtime.output, outcome)
}

function listCommand(): Command {
  const command = new Command('list')
    .description('who belongs to each repository, and what this host can read')
    .option('--kit <file>', 'the recovery kit')
    .option('--identity <file>', 'a file of keys that opens the repository; may be repeated', collect)
    .option('--passphrase-file <file>', 'file that holds a passphrase of the repository')
    .option('--root <key>', 'the root key to trust, tidemark-root1…')
    .addHelpText('after', '\nExample:\n  tidemark key list')
  return addGlobalFlags(command).action((flags: GlobalFlags) =>
    runAction(flags, async (runtime) => {
      const { listKeys } = await import('../../api/keys/list-keys.ts')
      const { renderKeyrings } = await import('../render/keys.ts')
      const repositories = await listKeys(await runtime.workspace(), flags.repo === undefined ? {} : { repositories: await namedRepositories(runtime) })
      runtime.output.document({ repositories })
      renderKeyrings(runtime.output, repositories)
    }),
  )
}

function kitCommand(): Command {
  const command = new Command('kit')
    .description('print the recovery kit again, with every repository that it opens as it is configured now')
    .option('--kit <file>', 'the recovery kit, or a file with its two secrets, typed from paper')
    .option('--output <file>', 'write it to a new file, readable by this account only')
    .option('--dry-run', 'say what it would name, and print no secret')
    .addHelpText(
      'after',
      `
Without --output the page is printed, secrets included: send it to a printer, not to a log.

Example:
  tidemark key kit --kit /media/usb/kit.txt --output /media/usb/kit-2.txt`,
    )
  return addGlobalFlags(command).action((flags: GlobalFlags & { output?: string; dryRun?: boolean }) =>
    runAction(flags, async (runtime) => {
      if (flags.json === true && flags.output === undefined && flags.dryRun !== true) {
        throw new Failure('usage-invalid', 'a JSON document holds no secrets', { hints: ['write the kit to a file: --output FILE'] })
      }
      const { printKit } = await import('../../api/keys/print-kit.ts')
      const { renderKit } = await import('../render/keys.ts')
      const printed = await printKit(await runtime.workspace(), {
        ...(flags.repo === undefined ? {} : { repositories: await namedRepositories(runtime) }),
        ...(flags.output === undefined ? {} : { output: flags.output }),
        dryRun: flags.dryRun === true,
      })
      const { text: _text, ...facts } = printed
      runtime.output.document(facts)
      renderKit(runtime.output, printed)
    }),
  )
}

/** With --repo the settings hold only what was chosen. */
async function namedRepositories(runtime: Runtime): Promise<readonly string[]> {
  const { settings } = await runtime.workspace()
  const chosen = new Set(Object.values(settings.clusters).flatMap((cluster) => cluster.repositories))
  return chosen.size === 0 ? Object.keys(settings.repositories) : [...chosen]
}
