import { jsonSchema } from '../../src/config/schema.ts'
import { laterKey } from '../../src/config/schema-parts.ts'
import { laterArea, variables, type VariableSpec } from '../../src/config/variables.ts'

/** The generated pages of docs/reference about the configuration, by file name. A test fails when they drift. */
export function referenceFiles(): Readonly<Record<string, string>> {
  return {
    'environment.md': environmentReference(),
    'configuration.md': configurationReference(),
    'tidemark.schema.json': `${JSON.stringify(jsonSchema(), null, 2)}\n`,
  }
}

const generated = '<!-- Generated from the tables in src/config by scripts/write-reference.ts. Do not edit. -->'

function environmentReference(): string {
  const group = (title: string, about: string, specs: readonly VariableSpec[]) => [
    '',
    `## ${title}`,
    '',
    about,
    '',
    '| variable | seeds | meaning | example | setting | rule | in this version |',
    '|---|---|---|---|---|---|---|',
    ...specs.map(variableRow),
  ]
  const isLater = (spec: VariableSpec) => laterArea(spec) !== null
  return [
    generated,
    '',
    '# Environment variables',
    '',
    'No configuration file is needed: `DATABASE_URL`, or the variables of any of the seed documents, are enough.',
    '',
    '- Order: flag, then process environment, then the `.env` file (`--env-file FILE`, default `.env` in the working directory), then default.',
    '- With a `tidemark.yaml`, variables only fill what the file leaves out. Each one that has no effect is named by `tidemark config check`.',
    '- A variable that is set and empty counts as not set (except those that ask for encryption).',
    '- Two variables that contradict each other end the command with exit code 2, both named.',
    '- With several clusters in the file, connection variables have no effect; write `env:NAME` under the cluster that is meant.',
    ...group(
      'Used',
      'Without a URL, `DB_*`, `DATABASE_*` and `POSTGRES_*` may be mixed as long as they agree.',
      variables.filter((spec) => spec.status === 'used'),
    ),
    ...group(
      'Accepted, checked, not acting yet',
      'Their values are checked and carried; `config show` and `config check` say that the area named does not act in this version.',
      variables.filter(isLater),
    ),
    ...group(
      'Refused',
      'Each of these asks for encrypted backups. This version cannot write them, so it stops with exit code 2 instead of storing in clear.',
      variables.filter((spec) => spec.status === 'refused'),
    ),
    '',
    ...dotenvRules,
    '',
  ].join('\n')
}

const dotenvRules = [
  '## The `.env` file',
  '',
  'It is parsed, never run by a shell. An error names file, line and variable, never the value.',
  '',
  '| written | read as |',
  '|---|---|',
  '| `export NAME=value`, `NAME = value` | `value` |',
  '| `NAME=value   # comment` | `value`; a `#` without white space before it is part of the value |',
  '| `MAIL_FROM=Elegant Tex <a@b.c>` | `Elegant Tex <a@b.c>`: unquoted values keep blanks, quotes and backslashes inside |',
  "| `'…'` | literally, over several lines if need be |",
  '| `"…"` | `\\n` `\\r` `\\t` `\\"` `\\\\` `\\$` are replaced, and variables |',
  '| `"$HOME"/backups` | pieces without a blank between them are joined |',
  '| `~/x`, `$HOME/x` | the home directory; also in `BACKUP_DIR` of the process environment |',
  '| `${NAME}`, `${NAME:-text}` | process environment, else earlier in the file, else `text`, else an error |',
  '| `pa$word` | literally: a bare `$name` other than `$HOME` is not replaced |',
  '| `$(…)`, `` `…` `` | an error: nothing is ever run; in single quotes it is literal |',
]

function variableRow(spec: VariableSpec): string {
  const area = laterArea(spec)
  const status = area === null ? 'used' : `later: ${area}`
  const rule = spec.note === undefined ? spec.rule : `${spec.rule}; ${spec.note}`
  return row([`\`${spec.name}\``, spec.seeds.join(' '), spec.meaning, `\`${spec.example}\``, `\`${spec.setting}\``, rule, status])
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`
}

function configurationReference(): string {
  const rows: string[][] = []
  walk(jsonSchema(), '', { area: null, required: false }, (cells) => rows.push(cells))
  return [
    generated,
    '',
    '# Configuration file',
    '',
    '`tidemark.yaml` in the working directory, then `/etc/tidemark/tidemark.yaml`, or `--config FILE`. It is YAML 1.2; unknown keys are errors.',
    'Relative paths are relative to the file. Editors check it with `docs/reference/tidemark.schema.json`:',
    '',
    '    # yaml-language-server: $schema=./docs/reference/tidemark.schema.json',
    '',
    'Secrets are written by reference: `env:NAME` (process environment, then `.env`) or `file:/path` (one trailing line end is removed).',
    'Passwords and secret keys must be; a password inside `url` works, and `tidemark config check` warns.',
    '`NAME` stands for a name you choose. *later: AREA* marks what is checked and carried but does not act in this version.',
    '',
    '| setting | value | meaning |',
    '|---|---|---|',
    ...rows.map(row),
    '',
    'Sizes: `512MB`, `10GB` (powers of 1024, as in postgresql.conf). Durations: `90s`, `5m` (minutes), `36h`, `7d`, `12w`.',
    'Retention periods: `24h`, `7d`, `12w`, `12m` (**months**), `1y`.',
    'Schedules: five cron fields, `@daily` and its kin, or `first monday 09:00`.',
    '',
  ].join('\n')
}

type SchemaNode = Readonly<Record<string, unknown>>

function isNode(value: unknown): value is SchemaNode {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

interface Inherited {
  readonly area: string | null
  readonly required: boolean
}

function walk(schema: SchemaNode, path: string, inherited: Inherited, add: (cells: string[]) => void): void {
  const area = typeof schema[laterKey] === 'string' ? schema[laterKey] : inherited.area
  const about = typeof schema['description'] === 'string' ? schema['description'] : ''
  if (path !== '')
    add([
      `\`${path}\``,
      valueOf(schema),
      [about, inherited.required ? 'required' : '', area === null ? '' : `*later: ${area}*`].filter((text) => text !== '').join('; '),
    ])
  for (const node of [schema, ...alternatives(schema)]) {
    const required = Array.isArray(node['required']) ? node['required'] : []
    const properties = isNode(node['properties']) ? node['properties'] : {}
    for (const [key, inner] of Object.entries(properties))
      if (isNode(inner)) walk(inner, path === '' ? key : `${path}.${key}`, { area: laterOf(node) ?? area, required: required.includes(key) }, add)
    const rest = node['additionalProperties']
    if (isNode(rest) && isNode(node['propertyNames'])) walk(rest, `${path}.NAME`, { area, required: false }, add)
    const items = node['items']
    if (isNode(items))
      for (const item of [items, ...alternatives(items)])
        if (isNode(item['properties'])) walk({ ...item, description: undefined }, `${path}[]`, { area: laterOf(item) ?? area, required: false }, add)
  }
}

function laterOf(node: SchemaNode): string | null {
  return typeof node[laterKey] === 'string' ? node[laterKey] : null
}

function alternatives(schema: SchemaNode): SchemaNode[] {
  const found = Array.isArray(schema['anyOf']) ? schema['anyOf'].filter(isNode) : []
  return found.flatMap((node) => [node, ...alternatives(node)])
}

function valueOf(schema: SchemaNode): string {
  const examples = Array.isArray(schema['examples']) ? ` such as ${schema['examples'].map((example) => `\`${String(example)}\``).join(', ')}` : ''
  if (Array.isArray(schema['enum'])) return schema['enum'].map((value) => `\`${String(value)}\``).join(', ')
  const options = Array.isArray(schema['anyOf']) ? schema['anyOf'].filter(isNode) : []
  if (options.length > 0) return isTruth(options) ? 'true or false' : [...new Set(options.map(valueOf))].join(' or ')
  const kinds: Readonly<Record<string, string>> = {
    object: 'block',
    array: 'list',
    string: 'text',
    integer: 'whole number',
    number: 'number',
    boolean: 'true or false',
    null: 'null',
  }
  return `${kinds[String(schema['type'])] ?? 'anything'}${examples}`
}

function isTruth(options: readonly SchemaNode[]): boolean {
  return options.length === 2 && options[0]?.['type'] === 'boolean'
}
