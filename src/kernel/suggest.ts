/** The word of `known` that `word` was probably meant to be, or undefined when none is close. */
export function closest(word: string, known: readonly string[]): string | undefined {
  const wanted = word.toLowerCase().replaceAll(/[-_]/g, '')
  let best: { word: string; distance: number } | undefined
  for (const candidate of known) {
    const distance = editDistance(wanted, candidate.toLowerCase().replaceAll(/[-_]/g, ''))
    if (best === undefined || distance < best.distance) best = { word: candidate, distance }
  }
  if (best === undefined) return undefined
  return best.distance <= Math.max(1, Math.floor(wanted.length / 3)) ? best.word : undefined
}

/** `(did you mean "compress"?)`, or the list of what is possible, for the end of a message. */
export function suggestion(word: string, known: readonly string[]): string {
  const near = closest(word, known)
  if (near !== undefined) return `did you mean "${near}"?`
  return `possible here: ${known.join(', ')}`
}

/** Damerau-Levenshtein (adjacent transposition counts as one): the typing mistakes people make. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      let distance = Math.min((rows[i - 1]?.[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (rows[i - 1]?.[j - 1] ?? 0) + cost)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) distance = Math.min(distance, (rows[i - 2]?.[j - 2] ?? 0) + 1)
      row.push(distance)
    }
    rows.push(row)
  }
  return rows[a.length]?.[b.length] ?? 0
}
