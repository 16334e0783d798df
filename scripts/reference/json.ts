import { z } from 'zod'
import { proofSchema } from '../../src/drill/proof.ts'
import { backupFactsSchema } from '../../src/repository/backup.ts'
import { interfaceMembers } from './declarations.ts'
import { code, generated, table } from './markdown.ts'
import { meanings } from './meanings.ts'

/** docs/reference/json.md. Throws for a key without a meaning and for a meaning without a key, so that neither is forgotten. */
export function jsonPage(): string {
  const used = new Set<string>()
  const explained = (of: string, name: string, type: string, about = ''): string[] => {
    const meaning = meanings[`${of}.${name}`] ?? about
    used.add(`${of}.${name}`)
    if (meaning === '') throw new Error(`${of}.${name} has no meaning: add it to scripts/reference/meanings.ts`)
    return [code(name), code(type), meaning]
  }
  const ofSchema = (of: string, schema: z.ZodType) => {
    const node = z.toJSONSchema(schema, { io: 'output' }) as SchemaNode
    return Object.entries(node.properties ?? {}).map(([name, inner]) => explained(of, name, typeText(inner)))
  }
  const ofInterface = (of: string, file: string) => interfaceMembers(file, of).map(({ name, type, about }) => explained(of, name, type, about))
  const section = (title: string, about: string, rows: readonly (readonly string[])[]) => [
    '',
    `## ${title}`,
    '',
    about,
    '',
    ...table(['key', 'type', 'meaning'], rows),
  ]

  const page = [
    generated,
    '',
    '# JSON',
    '',
    'With `--json` every command prints one JSON document on standard output, on failure too. Rules that hold everywhere:',
    '',
    '- Times are RFC 3339 in UTC with `Z`; sizes are bytes; durations are seconds; names carry the unit.',
    '- Absent is `null`; keys are never left out. New keys may be added, so read what you know.',
    '- A failure is `{ "error": { "code", "message", "hints", "exitCode" } }`, added to what was reached; also where a command ran to its end and the answer is no (`verify` 13, `drill` and `doctor` and `repo test` 1). Codes: [failures.md](failures.md).',
    '- Passwords never occur; in connection URLs they are `***`.',
    '',
    ...table(
      ['command', 'document'],
      documents.map(([command, document]) => [code(command), code(document)]),
    ),
    ...section('Backup', 'The facts of a backup never change; the second part is what is known of it now.', [
      ...ofSchema('Backup', backupFactsSchema),
      ...ofInterface('Backup', 'src/repository/backup.ts'),
    ]),
    ...section('VerifiedBackup', 'What `verify` found.', ofInterface('VerifiedBackup', 'src/verify/verify-backup.ts')),
    ...section(
      'RestorePlan',
      'What a restore does or would do. `refusals` that are not empty end with exit code 15, and nothing is done.',
      ofInterface('RestorePlan', 'src/restore/restore-plan.ts'),
    ),
    ...section('PlannedSpace', 'Room for something: `serverSpace` and `stagingSpace` of a plan.', ofInterface('PlannedSpace', 'src/restore/restore-plan.ts')),
    ...section('RestoreResult', 'What a restore did.', ofInterface('RestoreResult', 'src/restore/restore-outcome.ts')),
    ...section(
      'ExportPlan',
      'What `export` does or would do. `refusals` that are not empty end with exit code 15, and nothing is written.',
      ofInterface('ExportPlan', 'src/restore/export/export-request.ts'),
    ),
    ...section('ExportResult', 'What `export` wrote.', ofInterface('ExportResult', 'src/restore/export/export-request.ts')),
    ...section('UndoPlan', 'What `undo` does or would do.', ofInterface('UndoPlan', 'src/restore/undo-restore.ts')),
    ...section('DeletePlan', 'What `delete` does or would do, for each repository.', ofInterface('DeletePlan', 'src/repository/delete-backup.ts')),
    ...section('Proof', 'The evidence of one drill, as it is kept in the repository.', ofSchema('Proof', proofSchema)),
    ...section('Finding', 'One thing that `doctor` looked at.', ofInterface('Finding', 'src/api/doctor/finding.ts')),
    ...section('AdoptionVerdict', 'What `repo adopt` makes of one file.', ofInterface('AdoptionVerdict', 'src/repository/adopt/plan-adoption.ts')),
    ...section('CollectedCluster', 'What `repo gc` did for one cluster in one repository.', ofInterface('CollectedCluster', 'src/api/collect-garbage.ts')),
    ...section('GarbagePlan', 'What `repo gc` found there before it did anything.', ofInterface('GarbagePlan', 'src/repository/base/plan-garbage.ts')),
    ...section('StorageTest', 'What `repo test` found of one storage.', ofInterface('StorageTest', 'src/api/test-repositories.ts')),
    ...section('InitializedRepository', 'A repository after `repo init`.', ofInterface('InitializedRepository', 'src/api/init-repositories.ts')),
    '',
  ]
  const unused = Object.keys(meanings).filter((key) => !used.has(key))
  if (unused.length > 0) throw new Error(`scripts/reference/meanings.ts explains what is not there: ${unused.join(', ')}`)
  return page.join('\n')
}

const documents: readonly (readonly [string, string])[] = [
  [
    'init',
    '{ "configFile", "secretFile", "cluster", "usable", "ready", "findings": [Finding], "repositories": [InitializedRepository], "backup": Backup or null, "dryRun" }',
  ],
  ['init --dry-run', 'the same and "yaml": what would be written'],
  ['demo', '{ "backup": Backup, "verified": [VerifiedBackup], "restore": RestoreResult or null, "proof": Proof, "directory": what --keep left, else null }'],
  ['backup', 'Backup and "warnings"; of several databases { "backups": [Backup], "warnings": [] }'],
  ['backup --dry-run', '{ "plan": { "cluster", "databases", "repositories", "lines", "warnings" } }'],
  ['list', '{ "backups": [Backup], "windows": [], "warnings": [] }'],
  ['show', 'Backup, "open": the command that restores its file without Tidemark, or null, and "warnings"'],
  ['latest', 'Backup and "warnings"'],
  ['pin, unpin', 'Backup'],
  ['pin --dry-run, unpin --dry-run', '{ "plan": { "action", "backup", "database", "fileName", "reason", "repositories", "lines" } }'],
  ['verify', '{ "backups": [VerifiedBackup], "warnings": [] }'],
  ['restore', '{ "plan": RestorePlan, "result": RestoreResult or null }'],
  ['export', '{ "plan": ExportPlan, "result": ExportResult, or null of a dry run }'],
  ['undo', '{ "plan": UndoPlan, "done": boolean, "warnings": [] }'],
  ['delete', '{ "plans": [{ "repository", "plan": DeletePlan }], "deleted": boolean }'],
  ['drill', '{ "proof": Proof }'],
  ['drill --dry-run', '{ "plan": { "backup", "cluster", "database", "repository", "server", "checks", "lines" } }'],
  ['doctor', '{ "ok": boolean, "findings": [Finding] }'],
  ['doctor --apply', '{ "ok": boolean, "findings": [Finding], "applied": [{ "cluster", "database", "sql" }], "plan": { "lines" } of a dry run, else null }'],
  ['doctor --sql', '{ "cluster", "sql" }'],
  ['repo init', '{ "repositories": [InitializedRepository] }'],
  ['repo init --dry-run', '{ "plan": { "repositories": [{ "name", "location", "layout", "exists" }], "lines" } }'],
  ['repo test', '{ "storages": [StorageTest] }'],
  [
    'repo adopt',
    '{ "directory", "cluster", "repositories": [{ "repository", "inPlace", "files": [AdoptionVerdict] }], "adopted": [Backup], "warnings": [], "dryRun" }',
  ],
  ['repo gc', '{ "repositories": [CollectedCluster], "dryRun" }'],
  ['config show', '{ "configFile", "envFile", "settings": [{ "path", "value", "origin" }], "ignored": [{ "variable", "reason" }] }'],
  ['config check', '{ "valid": boolean, "findings": [{ "severity", "message" }] }'],
]

interface SchemaNode {
  readonly type?: string | readonly string[]
  readonly enum?: readonly string[]
  readonly const?: unknown
  readonly anyOf?: readonly SchemaNode[]
  readonly items?: SchemaNode
  readonly properties?: Readonly<Record<string, SchemaNode>>
  readonly additionalProperties?: SchemaNode | boolean
}

/** A JSON Schema as people write types. */
function typeText(node: SchemaNode): string {
  if (node.const !== undefined) return JSON.stringify(node.const)
  if (node.enum !== undefined) return node.enum.map((value) => `'${value}'`).join(' | ')
  if (node.anyOf !== undefined) return node.anyOf.map(typeText).join(' | ')
  if (node.type === 'array') return node.items === undefined ? '[]' : `[${typeText(node.items)}]`
  if (node.properties !== undefined)
    return `{ ${Object.entries(node.properties)
      .map(([name, inner]) => `${name}: ${typeText(inner)}`)
      .join('; ')} }`
  if (typeof node.additionalProperties === 'object') return `{ [name]: ${typeText(node.additionalProperties)} }`
  const types = typeof node.type === 'string' ? [node.type] : (node.type ?? ['any'])
  return types.map((type) => (type === 'integer' ? 'number' : type)).join(' | ')
}
