import { Command } from 'commander'
import { Failure } from '../../kernel/failure.ts'
import { printable } from '../render/format.ts'
import { errorOf } from '../render/output.ts'
import { addGlobalFlags, addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'
import { collectInRepository } from './repo-gc.ts'

export function repoCommand(): Command {
  const command = new Command('repo').description('the places where backups lie: create, try out, take in files of other programs, remove garbage')
  return command.addCommand(initRepository()).addCommand(testRepository()).addCommand(adoptIntoRepository()).addCommand(collectInRepository())
}

function initRepository(): Command {
  const command = new Command('init')
    .description('create the configured repositories where there are none yet (the first backup does it, too)')
    .addHelpText('after', '\nExamples:\n  tidemark repo init\n  tidemark repo init --repo offsite')
  command.option('--dry-run', 'show what would be created, and where, and create nothing')
  return addGlobalFlags(command).action(async (flags: GlobalFlags & { dryRun?: boolean }) => {
    await runAction(flags, async (runtime) => {
      const { initRepositories, planRepositories } = await import('../../api/init-repositories.ts')
      if (flags.dryRun === true) {
        const plan = await planRepositories(await runtime.workspace())
        runtime.output.document({ plan })
        for (const line of plan.lines) runtime.output.line(printable(line))
        return runtime.output.line('Nothing was changed.')
      }
      const { renderRepositories } = await import('../render/repositories.ts')
      const repositories = await initRepositories(await runtime.workspace())
      runtime.output.document({ repositories })
      renderRepositories(runtime.output, repositories)
    })
  })
}

function testRepository(): Command {
  const command = new Command('test')
    .description('try every promise that backups rest on, on scratch objects in the configured storages, and remove them')
    .option('--slow', 'also the cases with thousands of objects')
    .addHelpText(
      'after',
      '\nExamples:\n  tidemark repo test\n  tidemark repo test --repo offsite --slow --json\n\nExit code 1 when a storage breaks a promise.',
    )
  return addGlobalFlags(command).action(async (flags: GlobalFlags & { slow?: boolean }) => {
    await runAction(flags, async (runtime) => {
      const { testRepositories } = await import('../../api/test-repositories.ts')
      const { renderCase, renderStorageTest } = await import('../render/repositories.ts')
      const tests = await testRepositories(await runtime.workspace(), {
        slow: flags.slow === true,
        onStorage: (name, location) => runtime.output.line(`${runtime.output.paint('bold', name)}  ${location}`),
        onCase: (result) => renderCase(runtime.output, result),
        onEnd: (test) => renderStorageTest(runtime.output, test),
      })
      const broken = tests.filter((test) => !test.ok).map((test) => test.name)
      const error =
        broken.length === 0
          ? {}
          : errorOf(new Failure('storage-test-failed', `these storages break promises: ${broken.join(', ')}`, { hints: ['the cases say which'] }))
      runtime.output.document({ storages: tests, ...error })
      if (broken.length > 0) runtime.exitCode = 1
    })
  })
}

interface AdoptFlags extends GlobalFlags {
  again?: boolean
  dryRun?: boolean
  yes?: boolean
}

function adoptIntoRepository(): Command {
  const command = new Command('adopt')
    .description('take in dumps that other programs left in a directory: each is read to its end, checked and recorded')
    .argument('<directory>', 'where they lie (*.sql, *.sql.gz, *.sql.zst, *.dump, with .info beside them)')
    .option('--cluster <name>', 'the cluster they belong to (may be left out when one is configured)')
    .option('--again', 'also what was adopted before and deleted since')
    .option('--dry-run', 'read and judge every file, and change nothing')
    .option('-y, --yes', 'do not ask')
    .addHelpText(
      'after',
      `
Files in the repository's own directory stay where they are; others are copied in and left alone. They are dated by their names
(in the cluster's time zone), else by their .info, else by their modification time. What is empty, cut off or damaged is listed with
the reason and not taken in: exit code 3.

Examples:
  tidemark repo adopt ./backups --dry-run
  tidemark repo adopt /mnt/old-backups --cluster nexo --yes`,
    )
  return addRepositoryFlags(command).action(async (directory: string, flags: AdoptFlags) => {
    await runAction(flags, async (runtime) => {
      const { adoptFiles } = await import('../../api/adopt-files.ts')
      const { adoptionQuestion, renderAdoption } = await import('../render/adoption.ts')
      const workspace = await runtime.workspace()
      const outcome = await adoptFiles(workspace, {
        directory,
        // With --repo the settings hold only what was chosen.
        ...(flags.repo === undefined ? {} : { repositories: Object.keys(workspace.settings.repositories) }),
        ...(flags.cluster === undefined ? {} : { cluster: flags.cluster }),
        again: flags.again === true,
        dryRun: flags.dryRun === true,
        approve: (plans) => runtime.confirm(adoptionQuestion(plans), { yes: flags.yes }),
      })
      runtime.output.document(outcome)
      renderAdoption(runtime.output, outcome)
      if (outcome.repositories.some(({ files }) => files.some((file) => file.verdict === 'refused'))) runtime.exitCode = 3
    })
  })
}
