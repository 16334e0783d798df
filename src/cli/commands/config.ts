import { Command } from 'commander'
import { Failure } from '../../kernel/failure.ts'
import { printable, table } from '../render/format.ts'
import { errorOf } from '../render/output.ts'
import { addGlobalFlags, runAction, type GlobalFlags } from '../runtime.ts'

export function configCommand(): Command {
  const command = new Command('config').description('the effective settings and where each comes from')
  const show = new Command('show')
    .description('print every effective setting with its origin; secrets are masked')
    .addHelpText('after', '\nExample:\n  tidemark config show --json')
  addGlobalFlags(show).action(async (flags: GlobalFlags) => {
    await runAction(flags, async (runtime) => {
      const { describeSettings } = await import('../../config/describe.ts')
      const { settings } = await runtime.workspace()
      const rows = describeSettings(settings)
      runtime.output.document({ configFile: settings.configFile, envFile: settings.envFile, settings: rows, ignored: settings.ignored })
      runtime.output.line(table(rows.map((row) => [row.path, printable(row.value), runtime.output.paint('dim', printable(row.origin))])))
      for (const { variable, reason } of settings.ignored) runtime.output.line(`${runtime.output.paint('yellow', '!')} ${variable}: ${reason}`)
    })
  })
  const check = new Command('check').description('say what is wrong or doubtful with the configuration; exit 2 when it cannot be used')
  addGlobalFlags(check).action(async (flags: GlobalFlags) => {
    await runAction(flags, async (runtime) => {
      const { checkSettings } = await import('../../config/describe.ts')
      const { settings } = await runtime.workspace()
      const findings = checkSettings(settings)
      const wrong = findings.filter((finding) => finding.severity === 'error')
      const error = wrong.length === 0 ? {} : errorOf(new Failure('config-invalid', wrong.map((finding) => finding.message).join('; ')))
      runtime.output.document({ valid: wrong.length === 0, findings, ...error })
      for (const finding of findings)
        runtime.output.line(
          `${finding.severity === 'error' ? runtime.output.paint('red', '✗') : finding.severity === 'warning' ? runtime.output.paint('yellow', '!') : runtime.output.paint('dim', '·')} ${printable(finding.message)}`,
        )
      if (findings.length === 0) runtime.output.line(`${runtime.output.paint('green', '✓')} the configuration can be used`)
      if (wrong.length > 0) runtime.exitCode = 2
    })
  })
  return command.addCommand(show).addCommand(check)
}
