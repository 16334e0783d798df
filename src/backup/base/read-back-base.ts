import type { Context } from '../../kernel/context.ts'
import { Failure } from '../../kernel/failure.ts'
import { checkPages } from '../../repository/base/check-pages.ts'
import { findLostObjects } from '../../repository/base/lost-objects.ts'
import type { OpenBaseBackup } from '../../repository/base/open-base-backup.ts'
import { requireWholeCluster } from '../../repository/base/whole-cluster.ts'
import type { Repository } from '../../repository/repository.ts'

/**
 * Reads back what a run wrote, and looks for what it refers to: every page in its own packs is held against its hash, every older pack is there with its size, every file is whole, and the WAL from start to
 * stop is among them. Rejects with the first thing that is wrong: then the backup must not be committed.
 */
export async function readBackBase(
  repository: Repository,
  backup: OpenBaseBackup,
  { run, threads }: { readonly run: string; readonly threads: number },
  context: Context,
): Promise<void> {
  const { indexes } = backup.root
  context.emit({ type: 'step-begun', step: 'read-back', subject: repository.name, expectedBytes: null })
  const startedAt = context.clock.now()
  const isOwn = (pack: number): boolean => indexes[backup.tables.packs[pack]?.index ?? -1]?.run === run
  await requireWholeCluster(backup, context)
  const { problems, contentBytes } = await checkPages(repository, backup, { threads, wants: isOwn }, context)
  const [first] = problems
  if (first !== undefined) throw new Failure('integrity', `what was stored cannot be read back: ${first.message}`, { details: { object: first.object } })
  const older = [...backup.tables.packs.keys()].filter((pack) => !isOwn(pack))
  await requireStored(repository, backup, older, context)
  const durationSeconds = context.clock.now().since(startedAt).total('seconds')
  context.emit({ type: 'step-ended', step: 'read-back', subject: repository.name, durationSeconds, doneBytes: contentBytes })
}

async function requireStored(repository: Repository, backup: OpenBaseBackup, packs: readonly number[], context: Context): Promise<void> {
  const expected = packs.map((pack) => backup.pack(pack)).map(({ key, objectBytes }) => ({ key, sizeBytes: objectBytes }))
  const [lost] = await findLostObjects(repository.storage, expected, context)
  if (lost === undefined) return
  throw new Failure('integrity', `of the packs of earlier backups, ${lost.object}: ${lost.message}`, {
    hints: ['see which backups are damaged: tidemark verify --all', 'take a full one: tidemark backup --type full'],
    details: { object: lost.object },
  })
}
