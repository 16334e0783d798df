import { isMap, isPair, isScalar, isSeq, LineCounter, parseDocument, visit, type Document, type Node } from 'yaml'
import type { z } from 'zod'
import { problemsFailure, type Problem } from './problems.ts'
import { printableKey } from './schema-parts.ts'
import { configSchema, type ConfigFile } from './schema.ts'

export type SettingPath = readonly (string | number)[]

/** A valid configuration file and the way back from a setting to its line. */
export interface ConfigSource {
  readonly file: string
  readonly config: ConfigFile
  /** Where a setting, or the nearest thing around it, is written. 1-based. */
  locate(path: SettingPath): { readonly line: number; readonly column: number }
  /** `tidemark.yaml:7`, for origins. */
  originOf(path: SettingPath): string
  problem(path: SettingPath, message: string): Problem
}

/**
 * Parses and validates; `label` is how messages name the file. Throws `config-invalid` with every problem's line and column.
 */
export function parseConfigFile(text: string, label: string): ConfigSource {
  const lines = new LineCounter()
  // prettyErrors would quote the line, which may hold a password; so would warnings on standard error.
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    strict: true,
    uniqueKeys: true,
    stringKeys: true,
    logLevel: 'error',
    version: '1.2',
  })
  const at = (offset: number) => ({ line: Math.max(1, lines.linePos(offset).line), column: Math.max(1, lines.linePos(offset).col) })

  if (document.errors.length > 0 || document.warnings.length > 0) {
    throw problemsFailure(
      [...document.errors, ...document.warnings].map((error) => ({
        file: label,
        ...at(error.pos[0]),
        path: '',
        message: yamlMessages[error.code] ?? `not valid YAML (${error.code})`,
      })),
    )
  }

  const hidden = prototypeKeys(document)
  if (hidden.length > 0)
    throw problemsFailure(hidden.map((offset) => ({ file: label, ...at(offset), path: '', message: 'this name cannot be used for anything' })))
  keepModesAsWritten(document)
  const locate = (path: SettingPath) => at(offsetOf(document, path))
  const problem = (path: SettingPath, message: string): Problem => ({ file: label, ...locate(path), path: formatPath(path), message })

  let content: unknown
  try {
    content = document.toJS({ maxAliasCount: 100 })
  } catch {
    // The only error of a document without syntax errors: aliases that multiply beyond all bounds, or one to nothing.
    throw problemsFailure([{ file: label, line: 1, column: 1, path: '', message: 'its aliases (*name) cannot be resolved' }])
  }
  const result = configSchema.safeParse(content ?? {})
  if (!result.success) {
    const problems = result.error.issues.flatMap((issue) => issueProblems(issue, [], problem))
    throw problemsFailure(problems.toSorted((a, b) => a.line - b.line || a.column - b.column))
  }
  return { file: label, config: result.data, locate, originOf: (path) => `${label}:${locate(path).line}`, problem }
}

/** `clusters.nexo.checks[0].sql` */
export function formatPath(path: SettingPath): string {
  return path.map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index === 0 ? '' : '.'}${printableKey(key)}`)).join('')
}

const yamlMessages: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'this key stands twice in the same block; which one counts would be a guess',
  TAB_AS_INDENT: 'tabs cannot indent YAML; use spaces',
  BAD_INDENT: 'the indentation does not fit the lines around it',
  MULTIPLE_DOCS: 'expected one document; remove the --- in the middle',
  MISSING_CHAR: 'a quote, bracket or colon is missing',
  UNEXPECTED_TOKEN: 'not valid YAML: something unexpected stands here',
  MULTILINE_IMPLICIT_KEY: 'not valid YAML: is a colon missing on this line or a quote open above it?',
  BLOCK_AS_IMPLICIT_KEY: 'not valid YAML: a value with ": " in it needs quotes',
  NON_STRING_KEY: 'a key must be text; a value beginning with { or [ needs quotes',
  BAD_DQ_ESCAPE: 'a backslash in double quotes begins no known escape; use single quotes or \\\\',
  BAD_ALIAS: 'an alias or anchor (* or &) is not valid; a value beginning with * or & needs quotes',
  BAD_SCALAR_START: 'a value beginning with this character needs quotes',
  TAG_RESOLVE_FAILED: 'this tag (!) is not known; a value beginning with ! needs quotes',
}

/** Offsets of keys `__proto__`, which the schema would drop in silence. */
function prototypeKeys(document: Document): number[] {
  const offsets: number[] = []
  visit(document, {
    Pair(_, pair) {
      if (isScalar(pair.key) && pair.key.value === '__proto__') offsets.push(pair.key.range?.[0] ?? 0)
    },
  })
  return offsets
}

/** YAML reads `0700` as the number 700 and `0o700` as 448; people mean the digits. */
function keepModesAsWritten(document: Document): void {
  visit(document, {
    Pair(_, pair) {
      const isMode = isScalar(pair.key) && (pair.key.value === 'dirMode' || pair.key.value === 'fileMode')
      if (isMode && isScalar(pair.value) && typeof pair.value.value === 'number' && pair.value.source !== undefined) pair.value.value = pair.value.source
    },
  })
}

/** Offset of the key at `path`, or of the deepest part of it that is written. */
function offsetOf(document: Document, path: SettingPath): number {
  let node: Node | null | undefined = document.contents
  let offset = node?.range?.[0] ?? 0
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(key))
      if (pair === undefined) return offset
      offset = isScalar(pair.key) ? (pair.key.range?.[0] ?? offset) : offset
      node = pair.value as Node | null
    } else if (isSeq(node)) {
      node = node.items[Number(key)] as Node | undefined
      offset = node?.range?.[0] ?? offset
    } else return offset
  }
  return offset
}

type Issue = z.core.$ZodIssue
type MakeProblem = (path: SettingPath, message: string) => Problem

function issueProblems(issue: Issue, prefix: SettingPath, problem: MakeProblem): Problem[] {
  const path = [...prefix, ...issue.path.map((key) => (typeof key === 'number' ? key : String(key)))]
  switch (issue.code) {
    case 'unrecognized_keys': {
      // The message lists all of them; the place is that of the first.
      return [problem([...path, issue.keys[0] ?? ''], issue.message)]
    }
    case 'invalid_key':
      return [problem(path, issue.issues.map((inner) => inner.message).join('; '))]
    case 'invalid_union':
      return unionProblems(issue.errors, path, problem)
    case 'invalid_type':
      return [
        problem(
          path,
          issue.message.startsWith('Invalid input')
            ? `expected ${kinds[issue.expected] ?? issue.expected}${path.length > 0 ? missing(issue.message) : ''}`
            : issue.message,
        ),
      ]
    case 'invalid_value':
      return [problem(path, `expected ${issue.values.length === 1 ? '' : 'one of '}${issue.values.map(String).join(', ')}`)]
    default:
      return [problem(path, plainMessage(issue.message))]
  }
}

const kinds: Readonly<Record<string, string>> = {
  object: 'a block of keys',
  record: 'a block of named entries',
  array: 'a list',
  string: 'text',
  boolean: 'true or false',
  number: 'a number',
  int: 'a whole number',
}

function missing(message: string): string {
  if (message.endsWith('received undefined')) return ', which is missing'
  const received = /received (\w+)$/.exec(message)?.[1]
  return received === undefined
    ? ''
    : `, found ${received === 'number' || received === 'boolean' ? `a ${received} (put it into quotes)` : (kinds[received] ?? received)}`
}

function plainMessage(message: string): string {
  return message
    .replace(/^Too small: expected (?:number|int) to be >=?(\S+)$/, 'expected at least $1')
    .replace(/^Too big: expected (?:number|int) to be <=?(\S+)$/, 'expected at most $1')
}

/** Of the alternatives, the one the writer was nearest to: fewest foreign keys, then failing deepest inside. */
function unionProblems(alternatives: readonly (readonly Issue[])[], path: SettingPath, problem: MakeProblem): Problem[] {
  const branches = alternatives.flatMap(flatBranches)
  const foreign = (issues: readonly Issue[]) => issues.reduce((sum, issue) => sum + (issue.code === 'unrecognized_keys' ? issue.keys.length : 0), 0)
  const isForm = (issue: Issue) => issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_value')
  const misspelt = (issues: readonly Issue[]) => (issues.some((issue) => issue.code === 'unrecognized_keys' && issue.message.includes('did you mean')) ? 0 : 1)
  const nearest = branches.filter((issues) => !issues.some(isForm)).toSorted((a, b) => foreign(a) - foreign(b) || misspelt(a) - misspelt(b))[0]
  if (nearest !== undefined) return nearest.flatMap((issue) => issueProblems(issue, path, problem))
  const forms = branches.flat().map((issue) =>
    issueProblems(issue, [], problem)[0]
      ?.message.replace(/^expected (?:one of )?/, '')
      .replace(/, (?:found|which is).*$/, ''),
  )
  return [problem(path, `expected ${[...new Set(forms)].join(', or ')}`)]
}

/** A union inside a union offers its alternatives beside the others. */
function flatBranches(branch: readonly Issue[]): (readonly Issue[])[] {
  const [only] = branch
  return branch.length === 1 && only?.code === 'invalid_union' && only.path.length === 0 ? only.errors.flatMap(flatBranches) : [branch]
}
