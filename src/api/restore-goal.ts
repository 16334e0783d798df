import { Failure } from '../kernel/failure.ts'
import { derivedName, requireUsableName } from '../postgres/identifiers.ts'
import type { RestoreGoal } from '../restore/plan-restore.ts'
import type { RestoreOptions } from './restore-options.ts'

/** Refuses options that contradict each other (exit 2). */
export function requireConsistent(options: RestoreOptions): void {
  const targets = [options.as !== undefined && '--as', options.test === true && '--test', options.replace !== undefined && '--replace'].filter((name) => name !== false)
  if (targets.length > 1) throw new Failure('usage-invalid', `${targets.join(' and ')} exclude each other: each names another target`)
  if (options.dropExisting === true && options.as === undefined) throw new Failure('usage-invalid', '--drop-existing needs --as NAME: the name of the database to drop')
  if (options.replace !== undefined && (options.tables ?? []).length > 0) throw new Failure('usage-invalid', '--replace brings the whole database back; with --table restore beside it (--as), or into it (--clean, --data-only)')
  if (options.dataOnly === true && options.truncate !== true && options.append !== true) throw new Failure('usage-invalid', '--data-only goes into existing tables: say --truncate to empty them first, or --append')
  if (options.drop === true && options.test !== true) throw new Failure('usage-invalid', '--drop belongs to --test')
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

