import type { QualifiedName, SequenceValue } from './sink.ts'
import { sqlWords, type SqlWord } from './sql-words.ts'

export interface CopyStatement {
  readonly target: QualifiedName
  /** Null when the statement names no columns: a table without any. */
  readonly columns: readonly string[] | null
  /** False when options make the data something other than COPY's text format. */
  readonly isPlainText: boolean
}

/** Understands `COPY schema.table (columns) FROM stdin;`. Undefined for anything else, COPY from a file or program included. */
export function parseCopyStatement(sql: string): CopyStatement | undefined {
  const words = sqlWords(sql)
  if (!isWord(words[0], 'copy')) return undefined
  const target = takeName(words, 1)
  if (target === undefined) return undefined
  const columns = takeColumns(words, target.next)
  if (columns === undefined || !isWord(words[columns.next], 'from') || !isWord(words[columns.next + 1], 'stdin')) return undefined
  const rest = words.slice(columns.next + 2)
  const isPlainText = rest.length === 0 || (rest.length === 1 && rest[0]?.text === ';')
  return { target: target.name, columns: columns.names, isPlainText }
}

/** Understands `SELECT pg_catalog.setval('schema.name', value, called);`. */
export function parseSetval(sql: string): SequenceValue | undefined {
  const words = sqlWords(sql)
  const at = words.findIndex((word) => isWord(word, 'setval'))
  const [open, name, comma, value, secondComma, called] = words.slice(at + 1)
  if (at < 1 || !isWord(words[0], 'select') || open?.text !== '(' || name?.kind !== 'string' || comma?.text !== ',' || secondComma?.text !== ',')
    return undefined
  if (value?.kind !== 'number' || (called?.text !== 'true' && called?.text !== 'false')) return undefined
  const sequence = parseQualifiedName(name.text)
  return sequence === undefined ? undefined : { ...sequence, lastValue: value.text, isCalled: called.text === 'true' }
}

/** `schema.name` or `name`, each part quoted or not; the schema is '' when none is given. */
export function parseQualifiedName(text: string): QualifiedName | undefined {
  const words = sqlWords(text)
  const taken = takeName(words, 0)
  return taken !== undefined && taken.next === words.length ? taken.name : undefined
}

/** Above the rows of a leaf partition that is loaded through its root (`dumpTableData` in pg_dump.c). */
export function parseLoadViaRoot(text: string): QualifiedName | undefined {
  const named = /^-- load via partition root (.*)$/su.exec(text.trim())?.[1]
  return named === undefined ? undefined : parseQualifiedName(named)
}

function isWord(word: SqlWord | undefined, text: string): boolean {
  return word?.kind === 'word' && word.text === text
}

function isName(word: SqlWord | undefined): word is SqlWord {
  return word?.kind === 'word' || word?.kind === 'name'
}

function takeName(words: readonly SqlWord[], at: number): { name: QualifiedName; next: number } | undefined {
  const [first, dot, second] = words.slice(at, at + 3)
  if (!isName(first)) return undefined
  if (dot?.kind !== 'sign' || dot.text !== '.') return { name: { schema: '', name: first.text }, next: at + 1 }
  return isName(second) ? { name: { schema: first.text, name: second.text }, next: at + 3 } : undefined
}

function takeColumns(words: readonly SqlWord[], at: number): { names: readonly string[] | null; next: number } | undefined {
  if (words[at]?.kind !== 'sign' || words[at]?.text !== '(') return { names: null, next: at }
  const names: string[] = []
  for (let index = at + 1; ; index += 2) {
    const [name, sign] = words.slice(index, index + 2)
    if (!isName(name) || sign?.kind !== 'sign') return undefined
    names.push(name.text)
    if (sign.text === ')') return { names, next: index + 2 }
    if (sign.text !== ',') return undefined
  }
}
