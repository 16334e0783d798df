import { Failure } from '../kernel/failure.ts'

/** One thing wrong in the configuration file, at the place where a person can correct it. */
export interface Problem {
  readonly file: string
  /** 1-based. */
  readonly line: number
  readonly column: number
  /** `clusters.nexo.dump.compress`, or '' for the file as a whole. */
  readonly path: string
  readonly message: string
}

export function formatProblem(problem: Problem): string {
  const place = `${problem.file}:${problem.line}:${problem.column}`
  return problem.path === '' ? `${place}: ${problem.message}` : `${place} ${problem.path}: ${problem.message}`
}

/** One failure for all problems found, so that a file is corrected in one go. */
export function problemsFailure(problems: readonly Problem[], cause?: unknown): Failure {
  const shown = problems.slice(0, 20)
  const more = problems.length > shown.length ? [`… and ${problems.length - shown.length} more`] : []
  const file = problems[0]?.file ?? 'the configuration file'
  const body = [...shown.map(formatProblem), ...more]
  const message = body.length === 1 ? `cannot use ${file}: ${body[0]}` : `cannot use ${file}:\n${body.map((line) => `  ${line}`).join('\n')}`
  return new Failure('config-invalid', message, {
    hints: ['tidemark config check', 'every setting: docs/reference/configuration.md'],
    details: { problems },
    ...(cause === undefined ? {} : { cause }),
  })
}
