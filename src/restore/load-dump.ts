import { createReadStream } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import type { Context } from '../kernel/context.ts'
import { Failure, isFailure } from '../kernel/failure.ts'
import { startClient } from '../postgres/client-process.ts'
import type { ClientTools } from '../postgres/client-tools.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import { parseRestoreErrors, type RestoreReport } from './restore-errors.ts'
import type { StagedDump } from './staged-dump.ts'

export interface LoadRequest {
  readonly target: ConnectionTarget
  readonly database: string
  readonly tools: ClientTools
  readonly jobs: number
  readonly noOwner: boolean
  readonly noPrivileges: boolean
  readonly dataOnly: boolean
  /** Only a superuser may switch triggers and foreign keys off while rows go into existing tables. */
  readonly isSuperuser: boolean
  /** Drops the dump's objects in the database first. */
  readonly clean: boolean
  /** Entries to restore, as lines of a `--use-list` file; null = all. */
  readonly entries: readonly string[] | null
  /** For the list file. */
  readonly stage: string
  /** Memory for building indexes, per worker. */
  readonly maintenanceMiB: number
}

/** Settings of the loading sessions. Durability is made up for at the end by `settle`: a crash before that leaves a copy nobody was given. */
function loadSettings(request: LoadRequest): Readonly<Record<string, string>> {
  return {
    synchronous_commit: 'off',
    maintenance_work_mem: `${request.maintenanceMiB}MB`,
    statement_timeout: '0',
    lock_timeout: '0',
    idle_in_transaction_session_timeout: '0',
    row_security: 'off',
  }
}

/** Loads a staged dump into an existing database. Archives go on after errors and report them; plain SQL stops at the first one. */
export async function loadDump(staged: StagedDump, request: LoadRequest, context: Context): Promise<RestoreReport> {
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'restore', subject: request.database, expectedBytes: staged.content?.sizeBytes ?? null })
  const report = staged.format === 'plain' ? await loadPlain(staged, request, context) : await loadArchive(staged, request, context)
  context.emit({
    type: 'step-ended',
    step: 'restore',
    subject: request.database,
    durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
    doneBytes: staged.content?.sizeBytes ?? null,
    ...(report.errors.length > 0 ? { note: `${report.errors.length} errors` } : {}),
  })
  return report
}

async function loadArchive(staged: StagedDump, request: LoadRequest, context: Context): Promise<RestoreReport> {
  const pgRestore = request.tools.programs.pg_restore
  if (pgRestore === undefined) throw new Failure('tool-missing', 'pg_restore is not installed')
  const inContainer = pgRestore.container !== null
  if (inContainer && staged.format === 'directory')
    throw new Failure('usage-invalid', 'a directory dump cannot be fed into a container', {
      hints: ['restore it with client programs of this host: publish the port and use DATABASE_URL'],
    })
  const list = request.entries === null ? null : `${request.stage}/entries.list`
  if (list !== null) await writeFile(list, `${request.entries?.join('\n') ?? ''}\n`, { mode: 0o600 })
  if (list !== null && inContainer)
    throw new Failure('usage-invalid', 'selected tables cannot be restored through a container', { hints: ['publish the port and use DATABASE_URL'] })
  const args = [
    '--no-password',
    // The stream of a container cannot be read in parallel.
    ...(inContainer ? [] : [`--jobs=${request.jobs}`]),
    ...(request.noOwner ? ['--no-owner'] : []),
    ...(request.noPrivileges ? ['--no-privileges'] : []),
    ...(request.dataOnly ? ['--data-only', ...(request.isSuperuser ? ['--disable-triggers'] : [])] : []),
    ...(request.clean ? ['--clean', '--if-exists'] : []),
    ...(list === null ? [] : [`--use-list=${list}`]),
    // An absolute path of ours; it cannot be taken for an option.
    ...(inContainer ? [] : [staged.path]),
  ]
  await using process = await startClient(pgRestore, args, request.target, {
    applicationName: 'tidemark pg_restore',
    database: request.database,
    settings: loadSettings(request),
    stdin: inContainer ? 'pipe' : 'none',
    signal: context.signal,
    emit: context.emit,
  })
  process.stdout.resume()
  if (process.stdin !== null) await feed(staged.path, process.stdin)
  const { exitCode } = await process.ended
  const report = parseRestoreErrors(process.stderrLines)
  if (exitCode === 0) return report
  // Exit code 1 with a count means: went on after errors. Everything else is a failure of the program itself.
  if (exitCode === 1 && !context.signal.aborted && process.stderrLines.some((line) => line.includes('errors ignored on restore:'))) return report
  await process.requireSuccess()
  throw new Failure('tool-failed', `pg_restore ended with code ${exitCode}`)
}

/** A reader that stopped early (EPIPE) has its reason on standard error, which the caller reads. */
async function feed(path: string, stdin: NodeJS.WritableStream): Promise<void> {
  try {
    await pipeline(createReadStream(path, { highWaterMark: 256 * 1024 }), stdin)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && (error.code === 'EPIPE' || error.code === 'ERR_STREAM_PREMATURE_CLOSE' || error.code === 'ECONNRESET')))
      throw error
  }
}

async function loadPlain(staged: StagedDump, request: LoadRequest, context: Context): Promise<RestoreReport> {
  const psql = request.tools.programs.psql
  if (psql === undefined) throw new Failure('tool-missing', 'psql is not installed')
  const suspicious = staged.content?.suspicious ?? []
  if (suspicious.length > 0) {
    throw new Failure(
      'target-unsafe',
      `this SQL file contains psql commands that pg_dump does not write; psql would run them on this machine: ${suspicious.slice(0, 3).join(', ')}`,
      {
        hints: ['look at the file; remove those lines if they are not yours'],
      },
    )
  }
  const inContainer = psql.container !== null
  await using process = await startClient(
    psql,
    ['--no-psqlrc', '--no-password', '--quiet', '--set=ON_ERROR_STOP=1', '--output=/dev/null', ...(inContainer ? ['--file=-'] : [`--file=${staged.path}`])],
    request.target,
    {
      applicationName: 'tidemark psql',
      database: request.database,
      settings: loadSettings(request),
      stdin: inContainer ? 'pipe' : 'none',
      signal: context.signal,
      emit: context.emit,
    },
  )
  process.stdout.resume()
  if (process.stdin !== null) await feed(staged.path, process.stdin)
  try {
    await process.requireSuccess()
  } catch (error) {
    if (isFailure(error, 'tool-failed', 'query-failed', 'permission-denied') && !context.signal.aborted) {
      throw new Failure(error.code, `the SQL file stopped at an error: ${error.message}`, { cause: error, hints: error.hints })
    }
    throw error
  }
  return { errors: [], notes: [], incomplete: false }
}
