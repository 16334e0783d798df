import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { Failure, messageOf } from '../kernel/failure.ts'
import { containerConnection } from './client-environment.ts'
import { callInContainer, type ContainerAccess, containerFailure, nameOfContainer } from './container.ts'
import { parseCsv } from './csv.ts'
import { quoteConninfo } from './identifiers.ts'
import { type Answer, AnswerReader, markLine } from './psql-answers.ts'
import { constantOf, literally } from './psql-input.ts'
import { notStarted, runProgram } from './run-program.ts'
import type { Parameter, Session, SessionOptions } from './session.ts'
import { connectFailure, statementFailure } from './sql-failure.ts'
import type { ConnectionTarget } from './target.ts'
import { parserOfTypeName } from './value-types.ts'

/**
 * A session for servers that can be reached only inside their container: one `docker exec -i … psql` held open, whose answers
 * end with a line that nobody can guess. What differs from a direct session: one statement per call where rows are wanted;
 * `copyIn` is refused; errors carry no DETAIL.
 */
export async function openContainerSession(target: ConnectionTarget, access: ContainerAccess, options: SessionOptions): Promise<Session> {
  const place = { ...target, database: options.database ?? target.database }
  options.signal?.throwIfAborted()
  const child = await startPsql(place, access, options, ['--csv', '--set=ON_ERROR_STOP=0'])
  const session = new ContainerSession(child, place, access, options)
  try {
    await session.begin()
    return session
  } catch (error) {
    await session[Symbol.asyncDispose]()
    throw error
  }
}

async function startPsql(place: ConnectionTarget, access: ContainerAccess, options: SessionOptions, args: readonly string[]): Promise<ChildProcess> {
  const call = await psqlCall(place, access, options, args)
  const child = spawn(call.program, [...call.args], { env: { ...call.environment }, cwd: '/', stdio: ['pipe', 'pipe', 'pipe'], detached: true })
  child.stdin.on('error', () => undefined)
  await once(child, 'spawn').catch((error: unknown) => {
    throw notStarted(call.program, error)
  })
  return child
}

async function psqlCall(place: ConnectionTarget, access: ContainerAccess, options: SessionOptions, args: readonly string[]) {
  const wanted = {
    applicationName: options.applicationName,
    database: place.database,
    ...(options.settings === undefined ? {} : { settings: options.settings }),
  }
  const connection = await containerConnection(place, wanted, access)
  return callInContainer(access, {
    command: ['psql', '--no-psqlrc', '--quiet', ...args, ...connection.args],
    environment: { ...connection.environment, PGCLIENTENCODING: 'UTF8' },
    secret: connection.secret,
    stdin: true,
  })
}

class ContainerSession implements Session {
  readonly via = 'container'
  readonly target: ConnectionTarget
  user = ''
  backendPid = 0
  serverVersionNum = 0
  readonly #child: ChildProcess
  readonly #access: ContainerAccess
  readonly #options: SessionOptions
  /** Texts that nobody can guess: the end of an answer, and NULL. */
  readonly #marks: { readonly end: string; readonly null: string }
  readonly #answers: AnswerReader
  readonly #onAbort: () => void
  #stderr = ''
  /** Characters of standard error so far, of which only the last are kept. */
  #heard = 0
  #previous: Promise<unknown> = Promise.resolve()
  #copying = false
  #broken: Failure | null = null
  #statements = 0

  constructor(child: ChildProcess, target: ConnectionTarget, access: ContainerAccess, options: SessionOptions) {
    this.#child = child
    this.target = target
    this.#access = access
    this.#options = options
    this.#marks = { end: `tidemark-${randomBytes(12).toString('hex')}`, null: `null-${randomBytes(12).toString('hex')}` }
    this.#answers = new AnswerReader(child.stdout as Readable, this.#marks.end)
    child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#hear(text))
    this.#onAbort = () => void this.#abandon()
    options.signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  get database(): string {
    return this.target.database
  }

  async begin(): Promise<void> {
    try {
      // psql sets :ERROR with the first statement only.
      await this.#send(`\\pset null ${this.#marks.null}\nSELECT 1\n\\g\n`)
    } catch (error) {
      throw this.#notOpened(error)
    }
    const [row] = await this.query<{ pid: number; version: number; user: string }>(
      `SELECT pg_catalog.pg_backend_pid() AS pid, pg_catalog.current_setting('server_version_num')::int AS version, current_user::text AS user`,
    )
    if (row === undefined) throw new Failure('connection-failed', `the server in ${nameOfContainer(this.#access.container)} did not say who it is`)
    this.backendPid = row.pid
    this.serverVersionNum = row.version
    this.user = row.user
  }

  query<Row extends object = Record<string, unknown>>(sql: string, parameters: readonly Parameter[] = []): Promise<readonly Row[]> {
    if (this.#copying) throw new Error('cannot run a statement while the same session copies')
    const turn = this.#previous.catch(() => undefined).then(() => this.#rowsOf(sql, parameters))
    this.#previous = turn
    return turn as Promise<readonly Row[]>
  }

  async #rowsOf(sql: string, parameters: readonly Parameter[]): Promise<readonly object[]> {
    const tried = `run ${sql.trim().replace(/\s+/g, ' ').slice(0, 80)}`
    if (!/^\s*(SELECT|WITH|VALUES|TABLE|INSERT|UPDATE|DELETE|MERGE)\b/i.test(sql)) {
      const answer = await this.#ask(literally(sql), tried)
      return this.#rows(answer.output, null)
    }
    // Only a prepared statement takes parameters and tells its types in every psql since 11.
    const name = `tidemark_${(this.#statements += 1)}`
    await this.#ask(literally(`PREPARE ${name} AS ${sql}`), tried)
    try {
      const execute = `EXECUTE ${name}${parameters.length === 0 ? '' : `(${parameters.map(constantOf).join(', ')})`}`
      const described = await this.#ask(`${execute}\n\\gdesc\n`, tried)
      const types = parseCsv(described.output.toString('utf8'))
        .slice(1)
        .map((fields) => fields[1] ?? 'text')
      const answer = await this.#ask(`${execute}\n\\g\n`, tried)
      return this.#rows(answer.output, types)
    } finally {
      // In a failed transaction this fails too; the statement is then forgotten with the session.
      if (this.#broken === null) await this.#send(`DEALLOCATE ${name}\n\\g\n`)
    }
  }

  #rows(output: Buffer, types: readonly string[] | null): readonly object[] {
    const [header, ...lines] = parseCsv(output.toString('utf8'))
    if (header === undefined || types?.length === 0) return []
    const parsers = header.map((_, column) => (types === null ? (text: string): unknown => text : parserOfTypeName(types[column] ?? 'text')))
    return lines.map((fields) =>
      Object.fromEntries(header.map((name, column) => [name, fields[column] === this.#marks.null ? null : parsers[column]?.(fields[column] ?? '')])),
    )
  }

  async *copyOut(sql: string): AsyncGenerator<Uint8Array, void, undefined> {
    await this.#previous.catch(() => undefined)
    const release = this.#claim()
    const tried = `copy from database "${this.database}"`
    let complete = false
    try {
      // psql 15 reports success for a COPY that failed half-way, psql 17 and 18 an error without code or message [seen]. So the proof is a transaction that still works after it.
      const outer = await this.#inTransaction(tried)
      await this.#ask(outer ? 'SAVEPOINT tidemark_copy\n\\g\n' : 'BEGIN\n\\g\n', tried)
      const heard = this.#heard
      this.#write(literally(sql))
      const reported = yield* this.#answers.stream()
      const after = await this.#send('SELECT 1\n\\g\n')
      complete = true
      if (reported !== null || after.error !== null) {
        const told = reported === null || reported.sqlState === '' ? await this.#errorHeardSince(heard) : reported
        if (!outer) await this.#ask('ROLLBACK\n\\g\n', tried)
        throw statementFailure(sqlErrorFrom(told), this, tried)
      }
      await this.#ask(outer ? 'RELEASE SAVEPOINT tidemark_copy\n\\g\n' : 'COMMIT\n\\g\n', tried)
    } catch (error) {
      throw complete || error instanceof Failure ? error : this.#lost(error)
    } finally {
      if (!complete) await this.#abandon()
      release()
    }
  }

  /** psql tells it to nobody but its prompt; a savepoint is possible in a transaction only. */
  async #inTransaction(tried: string): Promise<boolean> {
    const answer = await this.#send('SAVEPOINT tidemark_probe\n\\g\n')
    if (answer.error?.sqlState === '25P01') return false
    if (answer.error !== null) throw statementFailure(sqlErrorFrom(answer.error), this, tried)
    await this.#ask('RELEASE SAVEPOINT tidemark_probe\n\\g\n', tried)
    return true
  }

  /** What standard error said; it travels apart from standard output and may come a little later. */
  async #errorHeardSince(from: number): Promise<{ sqlState: string; message: string }> {
    for (let waited = 0; waited < 1_000; waited += 20) {
      const message = /^ERROR:\s+(.*)$/m.exec(this.#stderr.slice(-Math.max(0, this.#heard - from) || this.#stderr.length))?.[1]
      if (message !== undefined && this.#heard > from) return { sqlState: 'XX000', message }
      await delay(20)
    }
    return { sqlState: 'XX000', message: 'the statement failed and psql did not say why' }
  }

  /**
   * Refused: when a source breaks, ending `docker exec` looks like the end of input to the psql inside, which may then commit half of it. Seen on a busy
   * machine: 10,171 rows instead of none.
   */
  copyIn(): Promise<number> {
    return Promise.reject(
      new Failure(
        'usage-invalid',
        `rows cannot be copied into database "${this.database}" through its container, for a broken source could not be told from a complete one`,
        { hints: ['publish the port, and let the URL point at it'] },
      ),
    )
  }

  async cancel(): Promise<void> {
    if (this.backendPid === 0) return
    const call = await psqlCall(this.target, this.#access, { applicationName: 'tidemark control' }, [
      '--command',
      `SELECT pg_catalog.pg_cancel_backend(${this.backendPid})`,
    ])
    const run = await runProgram(call.program, call.args, { environment: call.environment, cwd: '/', signal: AbortSignal.timeout(10_000) })
    if (run.exitCode !== 0) throw new Failure('tool-failed', `cannot cancel the statement in ${nameOfContainer(this.#access.container)}: ${run.stderr.trim()}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.stdin?.end()
    this.#child.stdout?.resume()
    const gone = once(this.#child, 'exit')
    const timer = new AbortController()
    const late = delay(this.#broken === null ? 2_000 : 200, undefined, { signal: timer.signal }).then(
      () => this.#child.kill('SIGKILL'),
      () => false,
    )
    await gone
    timer.abort()
    await late
  }

  /** One exchange: what psql printed, or the statement's error as a Failure. */
  async #ask(input: string, tried: string): Promise<Answer> {
    const answer = await this.#send(input)
    if (answer.error !== null) this.#options.signal?.throwIfAborted()
    if (answer.error !== null) throw statementFailure(sqlErrorFrom(answer.error), { user: this.user || this.target.user, database: this.database }, tried)
    return answer
  }

  async #send(input: string): Promise<Answer> {
    this.#requireAlive()
    try {
      this.#write(input)
      return await this.#answers.whole()
    } catch (error) {
      throw this.#lost(error)
    }
  }

  #write(input: string): void {
    this.#child.stdin?.write(input + markLine(this.#marks.end))
  }

  #claim(): () => void {
    if (this.#copying) throw new Error('the session already copies')
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#copying = true
    this.#previous = promise
    return () => {
      this.#copying = false
      resolve()
    }
  }

  #requireAlive(): void {
    this.#options.signal?.throwIfAborted()
    if (this.#broken !== null) throw this.#broken
  }

  #lost(error: unknown): unknown {
    if (this.#options.signal?.aborted === true) return this.#options.signal.reason
    if (error instanceof Failure) return error
    const said = this.#stderr.trim().split('\n').slice(-2).join(' | ')
    this.#broken ??= new Failure('connection-lost', `the session in ${nameOfContainer(this.#access.container)} broke: ${said || messageOf(error)}`, {
      cause: error,
    })
    return this.#broken
  }

  #notOpened(error: unknown): unknown {
    if (this.#options.signal?.aborted === true) return this.#options.signal.reason
    const docker = containerFailure(this.#access.container, this.#child.exitCode, this.#stderr)
    if (docker !== null) return docker
    const said = this.#stderr.replace(/^psql: (error: )?/gm, '').trim()
    return said === '' ? error : psqlRefusal(said, this.target)
  }

  #hear(text: string): void {
    this.#stderr = (this.#stderr + text).slice(-20_000)
    this.#heard += text.length
    for (const [, severity = '', message = ''] of text.matchAll(/^(NOTICE|WARNING|INFO):\s+(.*)$/gm)) this.#options.onNotice?.(severity, message)
  }

  async #abandon(): Promise<void> {
    this.#broken ??= new Failure('connection-lost', 'the session was ended on request')
    await this.cancel().catch(() => undefined)
    this.#child.stdin?.destroy()
    this.#child.stdout?.resume()
    this.#child.kill('SIGTERM')
  }
}

function sqlErrorFrom(error: { readonly sqlState: string; readonly message: string }): Error {
  return Object.assign(new Error(error.message), { code: error.sqlState })
}

/** What psql says when it cannot connect carries no SQLSTATE; the wording does (LC_ALL=C). */
export function psqlRefusal(said: string, target: ConnectionTarget): Failure {
  const state = /password authentication failed|no password supplied/.test(said)
    ? '28P01'
    : /database ".*" does not exist/.test(said)
      ? '3D000'
      : /role ".*" does not exist|no pg_hba.conf entry|authentication failed/.test(said)
        ? '28000'
        : /starting up|shutting down|recovery mode/.test(said)
          ? '57P03'
          : '08001'
  const message = said.replace(/^(connection to server .* failed: )?(FATAL:\s+)?/, '')
  return connectFailure(Object.assign(new Error(message), { code: state }), { ...target, host: null, container: target.container })
}

/** For probes: `dbname='…'`. */
export function containerDatabaseArgument(database: string): string {
  return `--dbname=dbname=${quoteConninfo(database)}`
}
