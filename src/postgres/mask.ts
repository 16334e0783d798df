import type { Secret } from '../kernel/secret.ts'

/**
 * Takes secrets out of a line that another program wrote: the given ones wherever they stand, and by their form passwords
 * in URLs, `PASSWORD '…'` clauses and PostgreSQL's own password hashes (which a failing ALTER ROLE would repeat).
 */
export function maskSecrets(line: string, secrets: readonly (Secret | null)[]): string {
  let masked = line
  for (const secret of secrets) {
    const text = secret?.reveal() ?? ''
    if (text !== '') masked = masked.replaceAll(text, '***')
  }
  return masked
    .replace(/(\w+:\/\/[^\s:/@]*):[^\s@]+@/g, '$1:***@')
    .replace(/(PASSWORD\s+)'(?:[^']|'')*'?/gi, "$1'***'")
    .replace(/SCRAM-SHA-256\$[\w+/=:$]+|\bmd5[0-9a-f]{32}\b/g, '***')
}
