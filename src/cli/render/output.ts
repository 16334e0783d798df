import { styleText } from 'node:util'
import { asFailure, type Failure } from '../../kernel/failure.ts'
import { printable } from './format.ts'

/** What a stream must be able to do for us; the process's own streams are handed in by `main.ts`. */
export interface TextStream {
  write(text: string): boolean
  readonly isTTY?: boolean
  readonly columns?: number
}

export interface OutputOptions {
  readonly stdout: TextStream
  readonly stderr: TextStream
  readonly json: boolean
  readonly colour: boolean
  readonly quiet: boolean
  readonly verbose: boolean
}

type Colour = 'green' | 'red' | 'yellow' | 'bold' | 'dim' | 'cyan'

/** The only place that writes to stdout and stderr: human text or one JSON document. */
export interface Output extends OutputOptions {
  /** A line of the human result; nothing in JSON mode. */
  line(text?: string): void
  /** The JSON document; nothing in text mode. */
  document(value: unknown): void
  /** A remark on stderr, in both modes. */
  remark(text: string): void
  paint(colour: Colour, text: string): string
  failure(error: unknown): Failure
}

export function createOutput(options: OutputOptions): Output {
  const paint = (colour: Colour, text: string) => (options.colour ? styleText(colour, text, { validateStream: false }) : text)
  return {
    ...options,
    paint,
    line: (text = '') => {
      if (!options.json) options.stdout.write(`${text}\n`)
    },
    document: (value) => {
      if (options.json) options.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
    },
    remark: (text) => {
      if (!options.quiet) options.stderr.write(`${text}\n`)
    },
    failure: (error) => {
      const failure = asFailure(error)
      options.stderr.write(describeFailure(failure, paint, options.verbose))
      return failure
    },
  }
}

/** What, why, and the next command; the stack only for bugs or with --verbose. */
function describeFailure(failure: Failure, paint: (colour: Colour, text: string) => string, verbose: boolean): string {
  const lines = [`${paint('red', '✗')} ${printable(failure.message, true)}`]
  for (const hint of failure.hints) lines.push(`  ${paint('dim', '→')} ${printable(hint, true)}`)
  lines.push(`  ${paint('dim', `(${failure.code}, exit ${failure.exitCode})`)}`)
  if (verbose || failure.code === 'bug') {
    for (let cause: unknown = failure.code === 'bug' ? failure.cause : failure; cause instanceof Error; cause = cause.cause)
      lines.push(printable(cause.stack ?? cause.message, true))
  }
  return `${lines.join('\n')}\n`
}

/** What a document gains when the command fails although it ran to its end. */
export function errorOf(failure: Failure): { error: ReturnType<typeof failureJson> } {
  return { error: failureJson(failure) }
}

/** The `error` member of a JSON document. */
export function failureJson(failure: Failure): { code: string; message: string; hints: readonly string[]; exitCode: number } & Record<string, unknown> {
  // What was reached stands beside the error, not in it.
  const { result: _result, ...details } = failure.details
  return {
    code: failure.code,
    message: failure.message,
    hints: failure.hints,
    exitCode: failure.exitCode,
    ...(Object.keys(details).length > 0 ? { details } : {}),
  }
}
