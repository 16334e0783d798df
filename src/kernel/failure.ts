/**
 * Every foreseen failure, in one table. Exit codes (docs/reference/failures.md), HTTP statuses and the
 * generated reference are read from here, so they cannot disagree.
 *
 * Exit codes: 1 failed, 2 usage or configuration, 3 partial, 10 no repository, 11 locked, 12 key,
 * 13 integrity, 14 target not reachable, 15 unsafe target refused, 130 cancelled.
 */
export const failures = {
  'usage-invalid': { exit: 2, http: 400, about: 'the command line asks for something that does not exist or contradicts itself' },
  'config-invalid': { exit: 2, http: 400, about: 'the configuration file, an environment variable or the .env file cannot be used' },
  'config-contradiction': { exit: 2, http: 400, about: 'two settings say different things about the same fact' },
  'encryption-unavailable': { exit: 2, http: 400, about: 'a kind of encryption is asked for, or was found, that Tidemark does not have' },
  'connection-invalid': { exit: 2, http: 400, about: 'the connection URL or its parts cannot be understood' },
  'connection-failed': { exit: 1, http: 502, about: 'the PostgreSQL server cannot be reached or does not let us in' },
  'connection-lost': { exit: 1, http: 502, about: 'the PostgreSQL server ended the session while it was needed' },
  'query-failed': { exit: 1, http: 502, about: 'the PostgreSQL server refused a statement' },
  'permission-denied': { exit: 1, http: 403, about: 'the PostgreSQL role lacks a right' },
  'pooler-refused': { exit: 1, http: 409, about: 'a transaction pooler stands between us and the server and cannot hold a snapshot' },
  'database-missing': { exit: 1, http: 404, about: 'the named database does not exist on the server' },
  'tool-missing': { exit: 1, http: 500, about: 'a PostgreSQL client program of a usable version is not installed' },
  'tool-failed': { exit: 1, http: 500, about: 'a client program (pg_dump, pg_restore, psql, docker) ended with an error' },
  'container-not-running': { exit: 1, http: 409, about: 'the named container does not exist or does not run' },
  'lock-timeout': { exit: 1, http: 409, about: 'another session holds a lock that the dump needs' },
  'source-unreadable': { exit: 1, http: 500, about: 'a file of the server cannot be read where it lies' },
  'dump-empty': { exit: 1, http: 500, about: 'the dump is empty or has no end marker although the program reported success' },
  'space-low': { exit: 1, http: 507, about: 'there is not enough free space for the work' },
  'storage-failed': { exit: 1, http: 502, about: 'the storage answered with an error or not at all' },
  'storage-denied': { exit: 1, http: 403, about: 'the storage refuses these credentials or this operation' },
  'storage-full': { exit: 1, http: 507, about: 'the storage has no space or quota left' },
  'storage-unsafe': { exit: 2, http: 409, about: 'the storage cannot create objects conditionally, so two writers could overwrite each other' },
  'object-missing': { exit: 13, http: 404, about: 'an object that the repository refers to is not in the storage' },
  'object-exists': { exit: 1, http: 409, about: 'an object of that name exists and is never overwritten' },
  'check-failed': { exit: 1, http: 409, about: 'a check of the restored copy did not give the expected answer' },
  'doctor-failed': { exit: 1, http: 409, about: 'doctor found something that would make a backup or a restore fail' },
  'storage-test-failed': { exit: 1, http: 409, about: 'a storage breaks a promise that backups rest on' },
  'drill-failed': { exit: 1, http: 409, about: 'the drill did not prove the backup' },
  'hook-failed': { exit: 1, http: 500, about: 'a configured command (hook) failed, so the work stopped' },
  'backup-missing': { exit: 1, http: 404, about: 'no backup matches' },
  'name-taken': { exit: 1, http: 409, about: 'a backup or database of that name exists' },
  'already-done': { exit: 1, http: 409, about: 'there is nothing to do or undo' },
  partial: { exit: 3, http: 207, about: 'done, but something was left out or an error was ignored' },
  'repository-missing': { exit: 10, http: 404, about: 'there is no repository at that place' },
  'repository-format': { exit: 10, http: 409, about: 'the repository has a format this version does not know' },
  locked: { exit: 11, http: 423, about: 'another run holds the lease of this cluster, or took it over' },
  'key-missing': { exit: 12, http: 403, about: 'a key is missing or is the wrong one' },
  integrity: { exit: 13, http: 409, about: 'stored bytes are not what was written' },
  'target-unreachable': { exit: 14, http: 409, about: 'the wanted moment or backup cannot be reached' },
  'target-unsafe': { exit: 15, http: 409, about: 'the target would be damaged, or a question needs a person or --yes' },
  cancelled: { exit: 130, http: 499, about: 'stopped on request' },
  bug: { exit: 1, http: 500, about: 'Tidemark itself went wrong; please report it' },
} as const satisfies Record<string, { exit: number; http: number; about: string }>

export type FailureCode = keyof typeof failures

export interface FailureOptions {
  /** What to do next: commands to type or questions to ask, one per line, no full stop needed. */
  hints?: readonly string[]
  cause?: unknown
  /** Machine-readable facts for JSON output; never secrets. */
  details?: Readonly<Record<string, unknown>>
}

/** A failure we foresaw. `message` says what was tried and why it failed; `hints` say the way out. */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly code: FailureCode
  readonly hints: readonly string[]
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: FailureCode, message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hints = options.hints ?? []
    this.details = options.details ?? {}
  }

  get exitCode(): number {
    return failures[this.code].exit
  }
}

/** Whether `error` is a foreseen failure, optionally one of the given codes. */
export function isFailure(error: unknown, ...codes: readonly FailureCode[]): error is Failure {
  return error instanceof Failure && (codes.length === 0 || codes.includes(error.code))
}

/** What a thrown value says, whatever was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ')
  return error instanceof Error ? error.message : String(error)
}

/** The system's error code (`ENOENT`, `ECONNREFUSED`, `42P01`), if the value carries one. */
export function systemCodeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** Whether the system says that a file cannot grow: the disk is full, a quota or a limit is reached. */
export function isOutOfSpace(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(systemCodeOf(error) ?? '')
}

/** Turns any thrown value into a Failure: foreseen ones pass, aborts become `cancelled`, the rest are bugs. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  if (error instanceof Error && error.name === 'AbortError') {
    return error.cause instanceof Failure ? error.cause : new Failure('cancelled', 'stopped on request', { cause: error })
  }
  return new Failure('bug', `unexpected error: ${messageOf(error)}`, {
    cause: error,
    hints: ['this is a bug in Tidemark: please report it with the output of the same command and --verbose'],
  })
}
