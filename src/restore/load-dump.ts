import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import type { Context } from '../kernel/context.ts'
import { Failure, isFailure } from '../kernel/failure.ts'
import { startClient } from '../postgres/client-process.ts'
import type { ClientTools } from '../postgres/client-tools.ts'
import { sweepContainerStages } from '../postgres/container-stage.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import { requireFit } from './fit-plain.ts'
import { feed, putIntoContainer } from './load-in-container.ts'
import { isErrorLine, parseRestoreErrors, type RestoreReport } from './restore-errors.ts'
import type { StagedDump } from './staged-dump.ts'

export interface LoadRequest {
  readonly run: string
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

/**
 * Loads a staged dump into an existing database. Archives go on after errors and report them; plain SQL stops at the first one, and so does what replaces
 * objects (`clean`), of which then nothing is done.
 */
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
  const access = pgRestore.container
  await using there = access === null ? null : await putIntoContainer(access, { ...request, staged }, context)
  const list = there === null ? await writeList(request) : there.list
  // Null: a custom archive reaches the pg_restore of a container by standard input, which several workers cannot read.
  const path = there === null ? staged.path : there.directory
  const args = [
    '--no-password',
    // A table that could not be dropped would get its rows twice: all of it or nothing, which one worker only can do.
    ...(request.clean ? ['--single-transaction'] : path === null ? [] : [`--jobs=${request.jobs}`]),
    ...(request.noOwner ? ['--no-owner'] : []),
    ...(request.noPrivileges ? ['--no-privileges'] : []),
    ...(request.dataOnly ? ['--data-only', ...(request.isSuperuser ? ['--disable-triggers'] : [])] : []),
    ...(request.clean ? ['--clean', '--if-exists'] : []),
    ...(list === null ? [] : [`--use-list=${list}`]),
    // An absolute path of ours; it cannot be taken for an option.
    ...(path === null ? [] : [path]),
  ]
  let reported = 0
  await using process = await startClient(pgRestore, args, request.target, {
    applicationName: there?.applicationName ?? 'tidemark pg_restore',
    database: request.database,
    settings: loadSettings(request),
    stdin: path === null ? 'pipe' : 'none',
    signal: context.signal,
    emit: (event) => {
      if (event.type === 'tool-line' && isErrorLine(event.line)) reported += 1
      context.emit(event)
    },
  })
  process.stdout.resume()
  if (process.stdin !== null) await feed(staged.path, process.stdin)
  const { exitCode } = await process.ended
  const report = parseRestoreErrors(process.stderrLines, reported)
  if (exitCode === 0) return report
  // Exit code 1 with a count means: went on after errors. Everything else is a failure of the program itself.
  if (exitCode === 1 && !context.signal.aborted && process.stderrLines.some((line) => line.includes('errors ignored on restore:'))) return report
  await process.requireSuccess()
  throw new Failure('tool-failed', `pg_restore ended with code ${exitCode}`)
}

async function writeList({ entries, stage }: LoadRequest): Promise<string | null> {
  if (entries === null) return null
  const list = `${stage}/entries.list`
  await writeFile(list, `${entries.join('\n')}\n`, { mode: 0o600 })
  return list
}

async function loadPlain(staged: StagedDump, request: LoadRequest, context: Context): Promise<RestoreReport> {
  const psql = request.tools.programs.psql
  if (psql === undefined) throw new Failure('tool-missing', 'psql is not installed')
  requireFit(staged)
  const inContainer = psql.container !== null
  if (psql.container !== null) await sweepContainerStages(psql.container, request.target, context)
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
  // To psql, a feed that was cut is one that ended, and it would report success: so the last line makes it say a word that nobody can guess.
  const word = `tidemark-end-${randomBytes(12).toString('hex')}`
  const said = lastOf(process.stdout)
  said.catch(() => undefined)
  if (process.stdin !== null) await feed(staged.path, process.stdin, `\n\\echo ${word}\n`)
  try {
    await process.requireSuccess()
  } catch (error) {
    if (isFailure(error, 'tool-failed', 'query-failed', 'permission-denied') && !context.signal.aborted) {
      throw new Failure(error.code, `the SQL file stopped at an error: ${error.message}`, { cause: error, hints: error.hints })
    }
    throw error
  }
  if (inContainer && !(await said).includes(word))
    throw new Failure('tool-failed', 'psql in the container reported success, but did not read the SQL to its end: the feed was cut', {
      hints: ['try again', 'does the container run, and is its engine well? see: docker ps'],
    })
  return { errors: [], notes: [], unlisted: 0 }
}

async function lastOf(stdout: NodeJS.ReadableStream): Promise<string> {
  let last = ''
  for await (const chunk of stdout) last = (last + String(chunk)).slice(-10_000)
  return last
}
