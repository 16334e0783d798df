/**
 * Follows the words of a statement as psql does (psqlscan.l), to know where it ends: the body of a function or procedure in SQL
 * (BEGIN ATOMIC … END) holds semicolons that do not end the statement.
 */
export interface StatementWords {
  /** A word outside of quotes, in lower case. */
  add(word: string): void
  /** `(` is 1, `)` is −1. */
  parenthesis(step: 1 | -1): void
  /** Whether a semicolon here ends the statement. */
  isComplete(): boolean
  clear(): void
}

export function createStatementWords(): StatementWords {
  let first: string[] = []
  let parentheses = 0
  /** Open BEGIN ATOMIC and CASE. */
  let bodyDepth = 0
  return {
    add: (word) => {
      if (first.length < 4) first.push(word)
      if (parentheses > 0 || !isRoutine(first)) return
      if (word === 'begin' || (word === 'case' && bodyDepth > 0)) bodyDepth += 1
      else if (word === 'end' && bodyDepth > 0) bodyDepth -= 1
    },
    parenthesis: (step) => {
      parentheses = Math.max(0, parentheses + step)
    },
    isComplete: () => parentheses === 0 && bodyDepth === 0,
    clear: () => {
      first = []
      parentheses = 0
      bodyDepth = 0
    },
  }
}

/** Whether the statement makes a function or procedure, whose body may hold semicolons. */
function isRoutine(words: readonly string[]): boolean {
  const [create, second, third, fourth] = words
  if (create !== 'create') return false
  const kind = second === 'or' && third === 'replace' ? fourth : second
  return kind === 'function' || kind === 'procedure'
}
