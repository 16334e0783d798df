import { Option, type Command } from 'commander'
import { systemClock } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import { asFailure, Failure, failures } from '../kernel/failure.ts'
import type { Secret } from '../kernel/secret.ts'
import type { Machine } from '../api/machine.ts'
import type { Workspace } from '../api/workspace.ts'
import { collect } from './option-values.ts'
import { createOutput, failureJson, type Output } from './render/output.ts'
import { jsonProgress, textProgress } from './render/progress.ts'

/** Flags that every command has. */
export interface GlobalFlags {
  config?: string
  envFile?: string
  json?: boolean
  progress?: 'text' | 'json' | 'none'
  quiet?: boolean
  verbose?: boolean
  repo?: string[]
  cluster?: string
  kit?: string
  identity?: string[]
  passphraseFile?: string
  root?: string
  hostKey?: string
}

/** What a command is handed: where to write, what to work on, when to stop. */
export interface Runtime {
  readonly output: Output
  readonly context: Context
  readonly flags: GlobalFlags
  machine(): Promise<Machine>
  /** Settings are read only by commands that need them. Without `everyCluster` (default true) a cluster whose variable is not set is no obstacle to the others. */
  workspace(options?: { readonly everyCluster: boolean }): Promise<Workspace>
  /** Asks on a terminal; without one, `--yes` is required (exit 15). */
  confirm(question: string, options: Consent): Promise<void>
  /** What the finished command exits with besides failures: 3 when something was left out. */
  exitCode: number
}

/** How a question is answered: with a yes, or with a text that shows that somebody looked. */
export interface Consent {
  readonly yes: boolean | undefined
  readonly typed?: string
  /** Instead of `typed`: a text that the question does not show. */
  readonly known?: Secret
}

export function addGlobalFlags(command: Command): Command {
  return command
    .option('--config <file>', 'configuration file (default: tidemark.yaml here, then /etc/tidemark/tidemark.yaml)')
    .option('--env-file <file>', 'file with environment variables (default: .env here, if there)')
    .option('--repo <name>', 'use only this repository: a name of the configuration, a path or s3://bucket/prefix; may be repeated', collect)
    .option('--json', 'print one JSON document on stdout')
    .addOption(new Option('--progress <kind>', 'how progress is told; json: events as lines on stderr').choices(['text', 'json', 'none']))
    .option('--quiet', 'no progress and no remarks')
    .option('--verbose', 'more notes, client program output, and stack traces of failures')
}

/** Those, and the keys of a sealed repository: for commands that open one. */
export function addRepositoryFlags(command: Command): Command {
  return addGlobalFlags(command)
    .option('--kit <file>', 'the recovery kit, which opens everything')
    .option('--identity <file>', 'a file of keys that opens the repository: of a host, or of age-keygen; may be repeated', collect)
    .option('--passphrase-file <file>', 'file that holds a passphrase of the repository')
    .option('--root <key>', 'the root key to trust, tidemark-root1…, where no host key or kit names it')
}

type Action = (runtime: Runtime) => Promise<void>

/** Runs one command: signals, progress, result and failure are handled here and nowhere else. */
export async function runAction(flags: GlobalFlags, action: Action): Promise<void> {
  const cancel = new AbortController()
  const output = createOutput({
    stdout: process.stdout,
    stderr: process.stderr,
    json: flags.json === true,
    colour: process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '' && flags.json !== true,
    quiet: flags.quiet === true,
    verbose: flags.verbose === true,
  })
  const progress =
    flags.progress === 'json'
      ? jsonProgress(output)
      : flags.progress === 'none'
        ? { listen: () => undefined, close: () => undefined }
        : textProgress(output, systemClock)
  const context: Context = { clock: systemClock, emit: progress.listen, signal: cancel.signal }
  const stopListening = listenForSignals(cancel, output)
  let machine: Promise<Machine> | undefined
  let workspace: Promise<Workspace> | undefined
  const runtime: Runtime = {
    output,
    context,
    flags,
    exitCode: 0,
    machine: () => (machine ??= loadMachine()),
    workspace: (options) => (workspace ??= loadWorkspace(flags, { context, runtime, options })),
    confirm: (question, options) => confirm(question, options, { output, signal: cancel.signal, pauseProgress: progress.close }),
  }
  try {
    await action(runtime)
    progress.close()
    process.exitCode = runtime.exitCode
  } catch (error) {
    progress.close()
    const failure = cancel.signal.aborted ? cancelled(error) : asFailure(error)
    output.document({ ...documentOf(failure), error: failureJson(failure) })
    output.failure(failure)
    process.exitCode = failures[failure.code].exit
  } finally {
    stopListening()
  }
}

/** A failure may carry the part of the result that was reached, which scripts still want to see. */
function documentOf(failure: Failure): Record<string, unknown> {
  const result: unknown = failure.details['result']
  return typeof result === 'object' && result !== null ? { ...result } : {}
}

function cancelled(error: unknown): Failure {
  const failure = asFailure(error)
  // Damage found while stopping is still damage; everything else is the stop itself.
  return failure.code === 'integrity' || failure.code === 'cancelled' ? failure : new Failure('cancelled', 'stopped on request', { cause: error })
}

function listenForSignals(cancel: AbortController, output: Output): () => void {
  const onSignal = () => {
    if (cancel.signal.aborted) process.exit(130)
    output.remark('\nstopping … (once more to stop at once)')
    cancel.abort(new Failure('cancelled', 'stopped on request'))
  }
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, onSignal)
  return () => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(name, onSignal)
  }
}

async function loadMachine(): Promise<Machine> {
  const [{ readMachine }, { availableParallelism }] = await Promise.all([import('../api/machine.ts'), import('node:os')])
  return readMachine({ env: process.env, cwd: process.cwd(), pid: process.pid, uid: process.getuid?.() ?? null, cpus: availableParallelism() })
}

async function loadWorkspace(
  flags: GlobalFlags,
  { context, runtime, options }: { context: Context; runtime: Runtime; options: { readonly everyCluster: boolean } | undefined },
): Promise<Workspace> {
  const { openWorkspace } = await import('../api/open-workspace.ts')
  const chosen = {
    ...(flags.config === undefined ? {} : { config: flags.config }),
    ...(flags.envFile === undefined ? {} : { envFile: flags.envFile }),
    ...(flags.repo === undefined ? {} : { repositories: flags.repo }),
    ...(flags.hostKey === undefined ? {} : { hostKey: flags.hostKey }),
    ...(flags.kit === undefined ? {} : { kit: flags.kit }),
    ...(flags.identity === undefined ? {} : { identities: flags.identity }),
    ...(flags.passphraseFile === undefined ? {} : { passphraseFile: flags.passphraseFile }),
    ...(flags.root === undefined ? {} : { root: flags.root }),
  }
  return openWorkspace(await runtime.machine(), chosen, context, options)
}

interface Asking {
  readonly output: Output
  readonly signal: AbortSignal
  readonly pauseProgress: () => void
}

async function confirm(question: string, options: Consent, { output, signal, pauseProgress }: Asking): Promise<void> {
  if (options.yes === true) return
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new Failure('target-unsafe', `this needs a yes, and there is no terminal to ask on: ${question}`, {
      hints: ['look at the plan with --dry-run, then repeat the command with --yes'],
    })
  }
  pauseProgress()
  const { createInterface } = await import('node:readline/promises')
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const wanted = options.typed ?? options.known?.reveal()
    // The end of the input and Ctrl-C on a raw terminal close the lines and answer nothing.
    const closed = new Promise<never>((_, reject) => lines.once('close', () => reject(new Failure('cancelled', 'stopped at a question; nothing was changed'))))
    const text = wanted === undefined ? `${question} [y/N] ` : options.typed === undefined ? `${question}: ` : `${question}\nType ${wanted} to go on: `
    const asked = lines.question(text, { signal })
    const answer = (await Promise.race([asked, closed])).trim()
    const agreed = wanted === undefined ? /^y(es)?$/i.test(answer) : answer === wanted
    if (!agreed) throw new Failure('cancelled', 'not confirmed; nothing was changed')
  } finally {
    lines.close()
  }
  output.remark('')
}
