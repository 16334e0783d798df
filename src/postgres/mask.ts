import type { Secret } from '../kernel/secret.ts'

/**
 * Takes secrets out of a line that another program wrote: the given ones wherever they stand, and by their form passwords
 * in URLs, `PASSWORD '…'` clauses and PostgreSQL's own password hashes (which a failing ALTER ROLE would repeat).
 */
export function maskSecrets(line: string, secrets: readonly (Secret | null)[]): string {
  let masked = line
  for (const secret of secrets) {
    const text = secret?.reveal() ?? ''
    if (text !== '') masked = masked.replace(occurrences(text), '***')
  }
  return masked
    .replace(/(\w+:\/\/[^\s:/@]*):[^\s@]+@/g, '$1:***@')
    .replace(/(PASSWORD\s+)'(?:[^']|'')*'?/gi, "$1'***'")
    .replace(/SCRAM-SHA-256\$[\w+/=:$]+|\bmd5[0-9a-f]{32}\b/g, '***')
}

/**
 * A short word is only taken out where it stands alone: a password `postgres` or `e` would else garble paths and the very words by which failures are
 * told apart. Anything longer, or with other characters in it, is no part of a word by accident.
 */
function occurrences(secret: string): RegExp {
  const pattern = RegExp.escape(secret)
  return /^\w{1,11}$/.test(secret) ? new RegExp(`(?<!\\w)${pattern}(?!\\w)`, 'g') : new RegExp(pattern, 'g')
}
