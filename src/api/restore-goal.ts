import { Failure } from '../kernel/failure.ts'
import { derivedName, requireUsableName } from '../postgres/identifiers.ts'
import type { RestoreGoal } from '../restore/restore-request.ts'
import type { RestoreOptions } from './restore-options.ts'

/** Options of which one says where or how, so that two of them contradict each other. */
const exclusive: readonly (readonly (keyof RestoreOptions)[])[] = [
  ['as', 'test', 'replace'],
  ['replace', 'dataOnly', 'clean'],
  ['test', 'dataOnly', 'clean', 'dropExisting'],
  ['dropExisting', 'clean', 'dataOnly'],
  ['truncate', 'append'],
  ['file', 'backup', 'wanted'],
]

/** Options that mean nothing without another. */
const needs: readonly (readonly [option: keyof RestoreOptions, needed: keyof RestoreOptions, why: string])[] = [
  ['dropExisting', 'as', '--drop-existing needs --as NAME: the name of the database to drop'],
  ['truncate', 'dataOnly', '--truncate belongs to --data-only'],
  ['append', 'dataOnly', '--append belongs to --data-only'],
  ['drop', 'test', '--drop belongs to --test'],
]

/** Refuses options that contradict each other or would do nothing (exit 2). */
export function requireConsistent(options: RestoreOptions): void {
  const isSet = (name: keyof RestoreOptions) => options[name] !== undefined && options[name] !== false
  for (const group of exclusive) {
    const chosen = group.filter(isSet).map(flagOf)
    if (chosen.length > 1)
      throw new Failure('usage-invalid', `${chosen.join(' and ')} exclude each other`, { hints: ['tidemark restore --help shows what each of them does'] })
  }
  for (const [option, needed, why] of needs) if (isSet(option) && !isSet(needed)) throw new Failure('usage-invalid', why)
  if (options.replace !== undefined && (options.tables ?? []).length > 0)
    throw new Failure('usage-invalid', '--replace brings the whole database back; with --table restore beside it (--as), or into it (--clean, --data-only)')
  if (options.dataOnly === true && options.truncate !== true && options.append !== true)
    throw new Failure('usage-invalid', '--data-only goes into existing tables: say --truncate to empty them first, or --append')
  if (options.dataOnly === true && options.validate !== undefined && options.validate !== 'none')
    throw new Failure('usage-invalid', '--validate does not go with --data-only: rows that go into existing tables are not looked at afterwards')
  if (options.verify === false && options.dryRun !== true)
    throw new Failure('usage-invalid', '--no-verify belongs to --dry-run: a restore always reads the whole backup before it touches anything')
}

function flagOf(option: keyof RestoreOptions): string {
  return option === 'wanted' ? 'the backup as argument' : `--${option.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** Where the restore goes, from the options. Names that PostgreSQL would cut are refused. */
export function chooseGoal(origin: { readonly database: string }, options: RestoreOptions, stamp: string): RestoreGoal {
  const name = options.as ?? origin.database
  requireUsableName(name, 'database name')
  if (options.replace !== undefined) return { kind: 'replace', name: origin.database, how: options.replace }
  if (options.test === true) return { kind: 'test', name: derivedName(origin.database, '_restore_test') }
  if (options.dataOnly === true) return { kind: 'into', name, how: options.truncate === true ? 'truncate' : 'append', explicit: options.as !== undefined }
  if (options.clean === true) return { kind: 'into', name, how: 'clean', explicit: options.as !== undefined }
  if (options.as === undefined) return { kind: 'new', name: derivedName(origin.database, `_restore_${stamp}`), explicit: false }
  return options.dropExisting === true ? { kind: 'drop-existing', name } : { kind: 'new', name, explicit: true }
}
