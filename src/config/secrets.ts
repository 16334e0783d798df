import { readFile } from 'node:fs/promises'
import { Failure, systemCodeOf } from '../kernel/failure.ts'
import type { Environment } from './environment.ts'
import { parsePath, type PathBase } from './file-paths.ts'
import type { SettingPath, ConfigSource } from './yaml-file.ts'
import { formatProblem } from './problems.ts'

/** A value after its reference was followed. */
export interface Resolved {
  readonly text: string
  /** `DATABASE_URL (.env)`, `/run/secrets/db`, `tidemark.yaml:4` */
  readonly origin: string
  /** False when the value stands in the configuration file itself. */
  readonly byReference: boolean
}

export interface ReferenceContext {
  readonly environment: Environment
  readonly source: ConfigSource
  /** For `file:` references: relative to the configuration file. */
  readonly paths: PathBase
}

/**
 * Follows `env:NAME` (process environment, then `.env`) and `file:/path` (one trailing line end removed); other text is the value
 * itself. Missing or empty: `config-invalid` naming the line and the reference, never a value.
 */
export async function resolveReference(written: string, path: SettingPath, context: ReferenceContext): Promise<Resolved> {
  const fail = (message: string, hints: readonly string[], { cause, unset }: { cause?: unknown; unset?: string } = {}) =>
    new Failure('config-invalid', `cannot follow the reference at ${formatProblem(context.source.problem(path, message))}`, {
      hints,
      ...(unset === undefined ? {} : { details: { unset } }),
      ...(cause === undefined ? {} : { cause }),
    })

  if (written.startsWith('env:')) {
    const name = written.slice('env:'.length)
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw fail('after env: the name of a variable is expected', ['for example env:DATABASE_URL'])
    const value = context.environment.take(name)
    if (value === undefined)
      throw fail(`the variable ${name} is not set, or empty`, [`export ${name}=…`, `or write ${name}=… into the .env file`], { unset: name })
    return { text: value.text, origin: value.origin, byReference: true }
  }
  if (written.startsWith('file:')) {
    const file = parsePath(written.slice('file:'.length).replace(/^\/\/(?=\/)/, ''), context.paths)
    let content: string
    try {
      content = await readFile(file, 'utf8')
    } catch (error) {
      const reasons: Readonly<Record<string, string>> = { ENOENT: 'does not exist', EACCES: 'may not be read by this user', EISDIR: 'is a directory' }
      const code = systemCodeOf(error) ?? ''
      throw fail(`the file ${file} ${reasons[code] ?? `cannot be read (${code})`}`, [`ls -l ${file}`], { cause: error })
    }
    const text = content.replace(/\r?\n$/, '')
    if (text === '') throw fail(`the file ${file} is empty`, ['write the secret into it'])
    return { text, origin: file, byReference: true }
  }
  return { text: written, origin: context.source.originOf(path), byReference: false }
}

/**
 * What an option of the command line says: `env:NAME` keeps a password out of the list of processes, other text is the value itself.
 * Unset or empty: `usage-invalid` naming the option and the variable.
 */
export function followOption(written: string, option: string, env: Readonly<Record<string, string | undefined>>): string {
  const name = /^env:(.+)$/s.exec(written)?.[1]
  if (name === undefined) return written
  const value = env[name]
  if (value !== undefined && value !== '') return value
  throw new Failure('usage-invalid', `${option} env:${name}: the variable is not set`, { hints: [`export ${name}=postgres://user:password@host/database`] })
}
