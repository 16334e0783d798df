import { Command } from 'commander'
import type { VerifyResult } from '../../api/verify-backups.ts'
import { Failure } from '../../kernel/failure.ts'
import { formatBytes, printable } from '../render/format.ts'
import { nextCommand } from '../render/next-command.ts'
import { errorOf } from '../render/output.ts'
import { collect } from '../option-values.ts'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'

export function verifyCommand(): Command {
  const command = new Command('verify')
    .description('read backups back: every byte, decoded, compared with what was recorded; a dump file on disk works too')
    .argument('[backup...]', 'ids, names, "latest", files, or clusters, whose latest is meant (default: latest)')
    .option('--all', 'every backup')
    .option('--backup <id>', 'a backup, whatever it is called; may be repeated', collect)
    .option('--file <path>', 'a dump file, whatever it is called')
    .option('--cluster <name>', 'the cluster they belong to')
    .addHelpText(
      'after',
      '\nExamples:\n  tidemark verify\n  tidemark verify --all\n  tidemark verify ./shop_20241201.sql.gz\n  tidemark verify ./shop_20241201.dump.zst.age --identity key.txt\n\nWhere no key at hand opens a sealed backup (a write-only host), its stored bytes are compared, which raises no state.\nDamage ends with exit code 13 and names the object.',
    )
  return addRepositoryFlags(command).action(async (backups: string[], flags: GlobalFlags & { all?: boolean; file?: string; backup?: string[] }) => {
    await runAction(flags, async (runtime) => {
      const { output } = runtime
      const { verifyBackups } = await import('../../api/verify-backups.ts')
      const result = await verifyBackups(await runtime.workspace({ everyCluster: false }), {
        wanted: backups,
        backups: flags.backup ?? [],
        all: flags.all === true,
        ...(flags.file === undefined ? {} : { file: flags.file }),
        ...(flags.cluster === undefined ? {} : { cluster: flags.cluster }),
      })
      const damaged = result.backups.filter((checked) => !checked.valid).map((checked) => checked.id)
      const error =
        damaged.length > 0 ? errorOf(damage(damaged, result.intact)) : result.isLogDamaged ? errorOf(new Failure('integrity', result.warnings.join('; '))) : {}
      output.document({ backups: result.backups, warnings: result.warnings, ...error })
      for (const checked of result.backups) {
        if (checked.valid)
          output.line(
            `${output.paint('green', '✓')} ${printable(checked.id)}  ${checked.state.toUpperCase()}  ${formatBytes(checked.readBytes)} ${whatWasDone(checked)}, ${checked.checksum}`,
          )
        else output.line(`${output.paint('red', '✗')} ${printable(checked.id)}  DAMAGED`)
        for (const problem of checked.problems) output.line(`    ${printable(`${problem.object}: ${problem.message}`)}`)
      }
      if (result.warnings.length > 0) runtime.exitCode = result.isLogDamaged ? 13 : 3
      if (damaged.length > 0) {
        runtime.exitCode = 13
        if (result.intact !== null)
          output.line(`The newest intact backup is ${result.intact}: ${printable(nextCommand(['restore', result.intact, '--test'], flags))}`)
      }
    })
  })
}

function damage(ids: readonly string[], intact: string | null): Failure {
  const hints =
    intact === null
      ? ['no other backup is known to be intact: take one now: tidemark backup']
      : [`the newest intact one is ${intact}: tidemark restore ${intact} --test`]
  return new Failure('integrity', `damaged: ${ids.join(', ')}`, { hints })
}

/** A base backup knows no tables. */
function whatWasDone({ opened, tables }: VerifyResult['backups'][number]): string {
  if (!opened) return 'compared as stored, not opened'
  return tables.length === 0 ? 'read' : `read, ${tables.length} tables`
}
