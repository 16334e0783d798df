import { Failure, isFailure } from '../kernel/failure.ts'
import type { DotenvEntry } from './dotenv.ts'
import { closest } from '../kernel/suggest.ts'
import { checkVariable } from './variable-rules.ts'
import { laterArea, variableNamed, variables } from './variables.ts'

/** A variable that is set and not empty, and where: `DATABASE_URL (environment)`, `DATABASE_URL (.env)`. */
export interface VariableValue {
  readonly name: string
  readonly text: string
  readonly origin: string
}

export interface IgnoredVariable {
  readonly variable: string
  readonly reason: string
}

/**
 * The process environment over the `.env` file. A variable that is set and empty counts as not set: Compose and CI pass
 * empty ones for what nobody filled in. Remembers what was used, so that what was not can be named.
 */
export interface Environment {
  /** The value, checked by its rule in the table; undefined when unset or empty. Counts as used. */
  take(name: string): VariableValue | undefined
  /** The value without check and without counting as used. */
  peek(name: string): VariableValue | undefined
  /** Records that `name` has no effect, when it is set. The first reason stays. */
  ignore(name: string, reason: string): void
  /** Names of the table's variables that are set, empty ones included. */
  isSet(name: string): boolean
  /** Everything set in vain, once all rooms have taken what they need. */
  ignored(): readonly IgnoredVariable[]
}

export interface EnvironmentSources {
  readonly process: Readonly<Record<string, string | undefined>>
  readonly dotenv: readonly DotenvEntry[]
  /** How origins name the `.env` file. */
  readonly dotenvLabel: string
}

export function readEnvironment(sources: EnvironmentSources): Environment {
  const fromFile = new Map(sources.dotenv.map((entry) => [entry.name, entry]))
  const used = new Set<string>()
  const reasons = new Map<string, string>()

  const raw = (name: string): VariableValue | undefined => {
    const own = Object.hasOwn(sources.process, name) ? sources.process[name] : undefined
    if (own !== undefined && own !== '') return { name, text: own, origin: `${name} (environment)` }
    const entry = fromFile.get(name)
    if (entry !== undefined && entry.value !== '') return { name, text: entry.value, origin: `${name} (${sources.dotenvLabel})` }
    return undefined
  }

  const take = (name: string): VariableValue | undefined => {
    const value = raw(name)
    if (value === undefined) return undefined
    used.add(name)
    const spec = variableNamed(name)
    if (spec !== undefined) attributed(value, () => checkVariable[spec.rule](value.text))
    return value
  }

  const ignored = (): readonly IgnoredVariable[] => {
    const known = variables.filter((spec) => raw(spec.name) !== undefined && !used.has(spec.name) && !(spec.name in alwaysQuiet))
    const unknown = unknownNames(sources, fromFile.keys())
    return [
      ...known.map((spec) => ({ variable: spec.name, reason: reasons.get(spec.name) ?? unusedReason(spec.setting) })),
      ...unknown.map((name) => ({ variable: name, reason: unknownReason(name) })),
    ]
  }

  return {
    take,
    peek: raw,
    ignore: (name, reason) => void (raw(name) !== undefined && !used.has(name) && !reasons.has(name) && reasons.set(name, reason)),
    isSet: (name) => (Object.hasOwn(sources.process, name) && sources.process[name] !== undefined) || fromFile.has(name),
    ignored,
  }
}

/** Read elsewhere (Makefile, terminal), so "not used" would be untrue. */
const alwaysQuiet = { BACKUP_FILE: true, NO_COLOR: true, TIDEMARK_CONFIG: true, TIDEMARK_PG_BIN: true }

function unusedReason(setting: string): string {
  return setting.includes('.s3.') ? 'no S3 repository is configured that needs it' : 'something else already decides this'
}

/** Misspelt variables of ours would otherwise pass in silence; other programs' names are none of our business. */
function unknownNames(sources: EnvironmentSources, fileNames: Iterable<string>): string[] {
  const names = new Set([...Object.keys(sources.process), ...fileNames])
  return [...names].filter((name) => /^(?:TIDEMARK|BACKUP)_/.test(name) && variableNamed(name) === undefined).toSorted()
}

function unknownReason(name: string): string {
  const near = closest(
    name,
    variables.map((spec) => spec.name),
  )
  return near === undefined ? 'Tidemark knows no variable of this name' : `Tidemark knows no variable of this name; did you mean ${near}?`
}

/** Runs a parser over a variable's text; what it throws then names the variable and where it is set, never the value. */
export function attributed<T>(value: VariableValue, parse: (text: string) => T): T {
  try {
    return parse(value.text)
  } catch (error) {
    if (!isFailure(error)) throw error
    throw new Failure(error.code, `cannot use ${value.origin}: ${error.message}`, {
      cause: error,
      hints: error.hints.length > 0 ? error.hints : [`correct ${value.name}; its value is not shown here`],
      details: { ...error.details, variable: value.name },
    })
  }
}

/** Several names for one fact: the first that is set, unless two disagree (by `same`, default: equal text), which is exit 2. */
export function agreeing(environment: Environment, names: readonly string[], same: (text: string) => string = (text) => text): VariableValue | undefined {
  const values = names.map((name) => environment.take(name)).filter((value) => value !== undefined)
  const [first, ...rest] = values
  const other = rest.find((value) => first !== undefined && same(value.text) !== same(first.text))
  if (first !== undefined && other !== undefined) throw contradiction(first, other)
  return first
}

export function contradiction(first: VariableValue, second: VariableValue): Failure {
  return new Failure('config-contradiction', `${first.origin} and ${second.origin} contradict each other`, {
    hints: [`unset ${first.name} or ${second.name}, or give both the same value`],
    details: { variables: [first.name, second.name] },
  })
}

/** Throws `encryption-unavailable` when a variable asks for another kind of sealing than there is, also when it is empty: nothing may be stored otherwise than was asked. */
export function refuseEncryptionVariables(environment: Environment): void {
  for (const { name } of variables.filter((candidate) => candidate.status === 'refused'))
    if (environment.isSet(name)) throw encryptionUnavailable(environment.peek(name)?.origin ?? `${name} (set, and empty)`)
}

export function encryptionUnavailable(askedBy: string): Failure {
  return new Failure('encryption-unavailable', `cannot go on: ${askedBy} asks for a kind of encryption that Tidemark does not have`, {
    hints: [
      'Tidemark seals with keys of its own, and age: tidemark key init',
      'remove the variable; a passphrase is given in a file: --passphrase-file FILE, a recipient of age in TIDEMARK_RECIPIENTS',
    ],
    details: { askedBy },
  })
}

/** The table's `later` variables that are set: checked, then reported with the area in which they will act. */
export function takeLater(environment: Environment, name: string): { readonly value: VariableValue; readonly area: string } | undefined {
  const spec = variableNamed(name)
  const area = spec === undefined ? null : laterArea(spec)
  const value = area === null ? undefined : environment.take(name)
  return value === undefined || area === null ? undefined : { value, area }
}
