import { drillBackup, planDrill, type DrillResult } from '../api/drill-backup.ts'
import { oneCluster, resolveSubject } from '../api/subjects.ts'
import { Failure } from '../kernel/failure.ts'
import type { DrillFlags } from './commands/drill.ts'
import { formatCount, formatDuration, printable, table } from './render/format.ts'
import { errorOf, type Output } from './render/output.ts'
import type { Runtime } from './runtime.ts'

/** `tidemark drill [cluster] [backup]`: the one argument may be either; the configuration decides. */
export async function runDrill(runtime: Runtime, words: readonly string[], flags: DrillFlags): Promise<void> {
  const workspace = await runtime.workspace()
  let cluster: string | undefined
  let backup = flags.backup
  let elseIs: string | undefined
  for (const word of words) {
    const subject = await resolveSubject(workspace, word)
    if (subject.kind === 'file')
      throw new Failure('usage-invalid', `a drill proves a backup of the repository; ${word} is a file`, {
        hints: [`restore and validate it: tidemark restore --file ${word} --test`, 'or take it in first: tidemark repo adopt'],
      })
    if (subject.kind === 'cluster') cluster = onlyOne('cluster', cluster, subject.name)
    else {
      backup = onlyOne('backup', backup, subject.text)
      elseIs = subject.elseIs
    }
  }
  cluster = oneCluster(cluster, flags.cluster)
  const options = {
    ...(cluster === undefined ? {} : { cluster }),
    ...(backup === undefined ? {} : { backup }),
    ...(elseIs === undefined ? {} : { elseIs }),
    ...(flags.server === undefined ? {} : { server: flags.server }),
    ...(flags.jobs === undefined ? {} : { jobs: flags.jobs }),
    keep: flags.keep === true,
  }
  if (flags.dryRun === true) {
    const plan = await planDrill(workspace, options)
    runtime.output.document({ plan })
    for (const line of plan.lines) runtime.output.line(printable(line))
    return runtime.output.line('Nothing was changed.')
  }
  const result = await drillBackup(workspace, options)
  const failed =
    result.proof.outcome === 'failed'
      ? errorOf(new Failure('drill-failed', `the drill did not prove backup ${result.proof.backup}`, { hints: result.proof.problems.slice(0, 5) }))
      : {}
  runtime.output.document({ proof: result.proof, ...failed })
  if (!runtime.output.json) renderProof(runtime.output, result)
  runtime.exitCode = { proven: 0, partial: 3, failed: 1 }[result.proof.outcome]
}

function onlyOne(what: string, before: string | undefined, now: string): string {
  if (before !== undefined && before !== now)
    throw new Failure('usage-invalid', `a drill proves one backup, and two ${what}s are named: "${before}" and "${now}"`, { hints: ['run it once for each'] })
  return now
}

export function renderProof(output: Output, { proof, keptDatabase, directory }: DrillResult): void {
  const rows = proof.tables.reduce((sum, each) => sum + (each.restoredRows ?? 0), 0)
  const wrong = proof.tables.filter((each) => !each.match)
  const mark = (ok: boolean) => (ok ? output.paint('green', '✓') : output.paint('red', '✗'))
  output.line(`restored ${proof.backup} ("${printable(proof.database)}") on ${printable(proof.server)} in ${formatDuration(proof.restoreSeconds)}`)
  if (proof.tables.length > 0)
    output.line(
      `${mark(wrong.length === 0)} ${proof.tables.length} tables, ${formatCount(rows)} rows: ${wrong.length === 0 ? 'every one equal to what was dumped' : `${wrong.length} differ`}`,
    )
  if (proof.largeObjects !== null && proof.largeObjects.count > 0) output.line(`${mark(proof.largeObjects.match)} ${proof.largeObjects.count} large objects`)
  if (proof.sequences !== null && proof.sequences.count > 0)
    output.line(
      `${mark(proof.sequences.matching === proof.sequences.count)} ${proof.sequences.matching} of ${proof.sequences.count} sequences stand where they stood`,
    )
  if (proof.derived !== null)
    output.line(
      `${mark(proof.derived.matching === proof.derived.checked)} ${proof.derived.matching} of ${proof.derived.checked} indexes, constraints, views and other objects present and valid`,
    )
  if (proof.checks.length > 0)
    output.line(`${mark(proof.checks.every((check) => check.ok))} ${proof.checks.filter((check) => check.ok).length} of ${proof.checks.length} of your checks`)
  if (wrong.length > 0)
    output.line(
      table([
        ['TABLE', 'DUMPED', 'RESTORED'],
        ...wrong.map((each) => [
          printable(each.name),
          each.rows === null ? '?' : formatCount(each.rows),
          each.restoredRows === null ? 'missing' : formatCount(each.restoredRows),
        ]),
      ]),
    )
  for (const { table: name, rows: newest } of proof.newest) {
    output.line(`newest of ${printable(name)}:`)
    for (const row of newest) output.line(`  ${printable(JSON.stringify(row))}`)
  }
  for (const problem of proof.problems) output.line(`  ${output.paint('red', '✗')} ${printable(problem)}`)
  for (const { what, why } of proof.notCompared) output.line(`  ${output.paint('yellow', '!')} not compared: ${printable(what)} (${printable(why)})`)
  const word = { proven: output.paint('green', 'PROVEN'), partial: output.paint('yellow', 'PARTIAL'), failed: output.paint('red', 'FAILED') }[proof.outcome]
  output.line(`${word}  RTO ${formatDuration(proof.restoreSeconds)}`)
  if (keptDatabase !== null) output.line(`kept: database "${printable(keptDatabase)}"${directory === null ? '' : `, server directory ${directory}`}`)
}
