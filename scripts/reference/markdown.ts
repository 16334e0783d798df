export const generated = '<!-- Generated from the code by scripts/write-reference.ts (make reference). Do not edit. -->'

/** One row of a table; a bar or a line end inside a cell would end it. */
export function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return [row(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(row)]
}

export const code = (text: string): string => `\`${text}\``
