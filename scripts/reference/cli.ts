import type { Command, Option } from 'commander'
import { addGlobalFlags } from '../../src/cli/runtime.ts'
import { createProgram } from '../../src/cli/program.ts'
import { code, generated, table } from './markdown.ts'

/** docs/reference/cli.md: what `--help` says of every command, from the same definitions. */
export function cliPage(): string {
  const program = createProgram()
  const visible = commandsOf(program)
  const common = addGlobalFlags(visible[0]?.createCommand('none') ?? program.createCommand('none')).options
  return [
    generated,
    '',
    '# Command line',
    '',
    program.description(),
    '',
    '    tidemark <command> [cluster] [options]',
    '',
    'With one cluster configured its name may be left out. `tidemark <command> --help` prints what stands here.',
    '',
    ...table(
      ['command', 'what'],
      visible.flatMap((command) => leavesOf(command).map((leaf) => [`[${code(nameOf(leaf))}](#${anchorOf(leaf)})`, leaf.description()])),
    ),
    '',
    '## Options that every command has',
    '',
    ...optionTable(common),
    '',
    `Also \`-h, --help\` everywhere, and \`tidemark --version\`. \`NO_COLOR\` turns colours off. Exit codes: [failures.md](failures.md).`,
    '',
    '```text',
    afterHelp(program),
    '```',
    ...visible.flatMap((command) => leavesOf(command)).flatMap((leaf) => commandSection(leaf, new Set(common.map((option) => option.flags)))),
    '',
  ].join('\n')
}

function commandSection(command: Command, common: ReadonlySet<string>): string[] {
  const options = command.options.filter((option) => !common.has(option.flags) && !option.hidden)
  const words = command.registeredArguments
  const after = afterHelp(command)
  return [
    '',
    `## ${nameOf(command)}`,
    '',
    `${capital(command.description())}.`,
    '',
    `    ${nameOf(command)} ${command.usage()}`,
    ...(words.length === 0
      ? []
      : [
          '',
          ...table(
            ['argument', 'meaning'],
            words.map((word) => [code(word.required ? `<${word.name()}>` : `[${word.name()}]`), withDefault(word.description, word.defaultValue)]),
          ),
        ]),
    ...(options.length === 0 ? [] : ['', ...optionTable(options)]),
    ...(after === '' ? [] : ['', '```text', after, '```']),
  ]
}

function optionTable(options: readonly Option[]): string[] {
  return table(
    ['option', 'meaning'],
    options.map((option) => [
      code(option.flags),
      withDefault(
        [option.description, option.argChoices === undefined ? '' : `one of ${option.argChoices.join(', ')}`].filter((text) => text !== '').join('; '),
        option.negate ? undefined : option.defaultValue,
      ),
    ]),
  )
}

function withDefault(text: string, value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? `${text} (default: \`${value}\`)` : text
}

/** What `addHelpText('after', …)` adds; commander keeps it as a listener, so it is printed and the rest taken away. */
function afterHelp(command: Command): string {
  let printed = ''
  const previous = command.configureOutput()
  command.configureOutput({ ...previous, writeOut: (text) => (printed += text) })
  command.outputHelp()
  command.configureOutput(previous)
  const help = command.helpInformation()
  return (printed.startsWith(help) ? printed.slice(help.length) : '').replace(/^\n+/, '').trimEnd()
}

function commandsOf(command: Command): Command[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .filter((each) => each.name() !== 'help')
}

function leavesOf(command: Command): Command[] {
  const inner = commandsOf(command)
  return inner.length === 0 ? [command] : inner.flatMap(leavesOf)
}

function nameOf(command: Command): string {
  const above = command.parent
  return above === null ? command.name() : `${nameOf(above)} ${command.name()}`
}

const anchorOf = (command: Command): string => nameOf(command).replaceAll(' ', '-')
const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1)
