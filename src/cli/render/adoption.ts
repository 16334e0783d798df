import type { AdoptionSummary, AdoptOutcome } from '../../api/adopt-files.ts'
import { formatBytes, formatCount, formatUtc, printable } from './format.ts'
import type { Output } from './output.ts'

export function adoptionQuestion(plans: readonly AdoptionSummary[]): string {
  const parts = plans.map(({ repository, inPlace, files }) => {
    const wanted = files.filter((file) => file.verdict === 'adopt')
    const bytes = formatBytes(wanted.reduce((sum, file) => sum + file.storedBytes, 0))
    const damaged = files.filter((file) => file.verdict === 'refused').length
    const rest = damaged === 0 ? '' : `, leaving out ${damaged} that cannot be used`
    return inPlace
      ? `Take ${wanted.length} files (${bytes}) where they are into repository "${repository}"${rest}`
      : `Copy ${wanted.length} files (${bytes}) into repository "${repository}"${rest}`
  })
  return `${parts.join('; ')}?`
}

/** One line per file, newest last as they lie; then the sum. */
export function renderAdoption(output: Output, outcome: AdoptOutcome): void {
  for (const { repository, inPlace, files } of outcome.repositories) {
    if (files.length === 0) output.line(`No dumps lie in ${printable(outcome.directory)} (looked for *.sql, *.sql.gz, *.sql.zst, *.dump, *.dump.zst).`)
    for (const file of files) {
      const name = printable(file.file)
      if (file.verdict === 'refused')
        output.line(`${output.paint('red', '✗')} ${name}  ${formatBytes(file.storedBytes)}  not taken in: ${printable(file.reason ?? '')}`)
      else if (file.verdict === 'known') output.line(`${output.paint('dim', '=')} ${name}  ${printable(file.reason ?? '')}`)
      else {
        const taken = file.takenAt === null ? '' : `${formatUtc(file.takenAt)} UTC`
        output.line(
          `${output.paint('green', outcome.dryRun ? '+' : '✓')} ${name}  ${printable(file.database ?? '')}  ${taken}  ${formatBytes(file.storedBytes)}  ${file.tables ?? 0} tables, ${formatCount(file.rows ?? 0)} rows${file.partial ? ', partial' : ''}`,
        )
      }
      for (const warning of file.warnings) output.line(`    ${output.paint('yellow', '!')} ${printable(warning)}`)
    }
    const count = (verdict: string) => files.filter((file) => file.verdict === verdict).length
    const done = outcome.dryRun ? `${count('adopt')} would be taken in` : `${count('adopt')} taken in`
    output.line(`${printable(repository)}: ${done}${inPlace ? ' where they lie' : ''}, ${count('known')} known, ${count('refused')} refused.`)
  }
  for (const warning of outcome.warnings) output.line(`${output.paint('yellow', '!')} ${printable(warning)}`)
  if (outcome.dryRun) output.line('Nothing was changed.')
}
