import { takeBaseBackup, type BaseOutcome } from '../../src/backup/base/take-base-backup.ts'
import type { BaseBackupRequest } from '../../src/backup/base/base-request.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import type { Context } from '../../src/kernel/context.ts'
import type { Event } from '../../src/kernel/event.ts'
import type { LeafEntry } from '../../src/packs/leaf.ts'
import type { ConnectionTarget } from '../../src/postgres/target.ts'
import { checkPages } from '../../src/repository/base/check-pages.ts'
import { openBaseBackup, type OpenBaseBackup } from '../../src/repository/base/open-base-backup.ts'
import { requireWholeCluster } from '../../src/repository/base/whole-cluster.ts'
import { livingBackups } from '../../src/repository/cluster-log.ts'
import { readClusterLog } from '../../src/repository/commit-log.ts'
import { openOrCreateRepository, type Repository } from '../../src/repository/repository.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import { gone } from './repository-scene.ts'

/** Base backups of one server into a repository in memory, in this process. */
export interface BaseScene {
  readonly repository: Repository
  readonly events: Event[]
  take(reader: BaseBackupRequest['reader'], type: BaseBackupRequest['type']): Promise<BaseOutcome>
  open(outcome: BaseOutcome): Promise<OpenBaseBackup>
  backups(): Promise<number>
  /** What is wrong with a backup; looks at every page. */
  problems(backup: OpenBaseBackup): Promise<readonly string[]>
}

export async function baseScene(target: ConnectionTarget): Promise<BaseScene> {
  const storage = memoryStorage({ clock: systemClock })
  const events: Event[] = []
  const context: Context = { clock: systemClock, emit: (event) => void events.push(event), signal: new AbortController().signal }
  const repository = await openOrCreateRepository('local', storage, 'flat', context)
  const living = async () => livingBackups(await readClusterLog(storage, 'main', context))
  let runs = 0
  return {
    repository,
    events,
    take: (reader, type) => {
      const request = {
        run: `run-${(runs += 1)}`,
        cluster: 'main',
        target,
        reach: { toolPath: '', toolDirectories: [], docker: { path: '', environment: {} }, discover: async () => [] },
        type,
        reader,
        name: null,
        threads: 2,
        level: 1,
        verify: true,
        timeZone: 'UTC',
        hostName: 'test',
        whereabouts: gone,
      }
      return takeBaseBackup(request, repository, context)
    },
    open: async (outcome) => {
      const record = (await living()).find(({ facts }) => facts.id === outcome.backup.id)
      if (record === undefined) throw new Error('the log does not know the backup')
      return openBaseBackup(repository, record, null, context)
    },
    backups: async () => (await living()).length,
    problems: async (backup) => {
      await requireWholeCluster(backup, context)
      const { problems } = await checkPages(repository, backup, { threads: 2, wants: () => true }, context)
      return problems.map(({ message }) => message)
    },
  }
}

/** The entries of a backup by path; of a file in several parts, the first. */
export async function entriesOf(backup: OpenBaseBackup): Promise<ReadonlyMap<string, LeafEntry>> {
  const found = new Map<string, LeafEntry>()
  for await (const entries of backup.leaves({})) for (const entry of entries) if (!found.has(entry.path)) found.set(entry.path, entry)
  return found
}
