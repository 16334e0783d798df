/** RFC 4180 as psql --csv writes it: rows of fields, quotes doubled, line breaks inside quotes kept. */
export function parseCsv(text: string): readonly (readonly string[])[] {
  const rows: string[][] = []
  let row: string[] = []
  let at = 0
  while (at < text.length) {
    const [field, next] = readField(text, at)
    row.push(field)
    at = next
    const separator = text[at]
    at += separator === '\r' ? 2 : 1
    if (separator !== ',') {
      rows.push(row)
      row = []
    } else if (at === text.length) row.push('')
  }
  if (row.length > 0) rows.push(row)
  return rows
}

function readField(text: string, from: number): readonly [field: string, next: number] {
  if (text[from] !== '"') {
    let end = from
    while (end < text.length && text[end] !== ',' && text[end] !== '\n' && text[end] !== '\r') end += 1
    return [text.slice(from, end), end]
  }
  let field = ''
  let at = from + 1
  for (;;) {
    const quote = text.indexOf('"', at)
    if (quote < 0) throw new Error('a quoted CSV field without its end')
    field += text.slice(at, quote)
    if (text[quote + 1] !== '"') return [field, quote + 1]
    field += '"'
    at = quote + 2
  }
}
