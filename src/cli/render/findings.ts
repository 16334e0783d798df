import type { Diagnosis } from '../../api/doctor/diagnose.ts'
import type { Finding } from '../../api/doctor/finding.ts'
import { printable } from './format.ts'
import type { Output } from './output.ts'

const marks = { ok: ['green', '✓'], warn: ['yellow', '!'], fail: ['red', '✗'] } as const

/** One line per check, the reason behind it, the fix indented below. */
export function renderFindings(output: Output, findings: readonly Finding[]): void {
  const groups = Map.groupBy(findings, (finding) => finding.subject)
  for (const finding of groups.get(null) ?? []) renderFinding(output, finding)
  for (const [subject, group] of groups) {
    if (subject === null) continue
    output.line(output.paint('bold', printable(subject)))
    for (const finding of group) renderFinding(output, finding)
  }
}

function renderFinding(output: Output, finding: Finding): void {
  const [colour, mark] = marks[finding.severity]
  const why = finding.why === null ? '' : output.paint('dim', `  (${printable(finding.why)})`)
  output.line(`  ${output.paint(colour, mark)} ${printable(finding.what)}${why}`)
  for (const [index, line] of (finding.fix ?? '').split('\n').entries())
    if (line !== '') output.line(`      ${index === 0 ? 'fix: ' : '     '}${printable(line)}`)
}

export function renderVerdict(output: Output, { findings, ok }: Diagnosis): void {
  const count = (severity: Finding['severity']) => findings.filter((finding) => finding.severity === severity).length
  const summary = `${count('ok')} well, ${count('warn')} to know, ${count('fail')} to mend`
  output.line(ok ? `${output.paint('green', '✓')} ${summary}` : `${output.paint('red', '✗')} ${summary}`)
}
