/** A word, literal or sign of a short SQL statement. */
export type SqlWord =
  | { readonly kind: 'word'; readonly text: string }
  | { readonly kind: 'name'; readonly text: string }
  | { readonly kind: 'string'; readonly text: string }
  | { readonly kind: 'number'; readonly text: string }
  | { readonly kind: 'sign'; readonly text: string }

const pattern =
  /\s+|--[^\n]*|\/\*[^]*?\*\/|[eE]'(?:[^'\\]|''|\\[^])*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|[A-Za-z_\u0080-\u{10ffff}][A-Za-z0-9_$\u0080-\u{10ffff}]*|-?\d+|[^]/gu

/**
 * Splits a statement of the kind that pg_dump writes (COPY, SELECT setval, SET) into words. Names without quotes are folded
 * as the server does it; strings are taken with `standard_conforming_strings = on`, E'' strings with their escapes.
 */
export function sqlWords(sql: string): SqlWord[] {
  const words: SqlWord[] = []
  for (const [text] of sql.matchAll(pattern)) {
    const first = text[0] as string
    if (/\s/u.test(first) || text.startsWith('--') || text.startsWith('/*')) continue
    if (first === "'" && text.length > 1) words.push({ kind: 'string', text: text.slice(1, -1).replaceAll("''", "'") })
    else if (first === '"' && text.length > 1) words.push({ kind: 'name', text: text.slice(1, -1).replaceAll('""', '"') })
    else if (/^[eE]'/.test(text)) words.push({ kind: 'string', text: unescape(text.slice(2, -1)) })
    else if (/^-?\d/.test(text)) words.push({ kind: 'number', text })
    else if (/^[A-Za-z_\u0080-\u{10ffff}]/u.test(first)) words.push({ kind: 'word', text: foldCase(text) })
    else words.push({ kind: 'sign', text })
  }
  return words
}

/** The server folds ASCII letters only (in multi-byte encodings). */
function foldCase(text: string): string {
  return text.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase())
}

function unescape(body: string): string {
  return body.replaceAll(/''|\\([^])/g, (_, escaped: string | undefined) => {
    if (escaped === undefined) return "'"
    return escaped === 'n' ? '\n' : escaped === 't' ? '\t' : escaped === 'r' ? '\r' : escaped === 'b' ? '\b' : escaped === 'f' ? '\f' : escaped
  })
}
