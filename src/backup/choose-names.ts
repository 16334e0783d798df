import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import { livingBackups, type ClusterState } from '../repository/cluster-log.ts'
import { readClusterLog } from '../repository/commit-log.ts'
import { weekOfYear } from '../repository/layout.ts'
import type { Repository } from '../repository/repository.ts'
import { keysFor, type Compression, type DumpFormat, type DumpKeys } from './file-names.ts'

export interface NameRequest {
  readonly run: string
  readonly cluster: string
  readonly stem: string
  readonly name: string | null
  readonly nameUnique: boolean
  readonly timeZone: string
}

/** What else the name tells. */
export interface NamedContent {
  readonly format: DumpFormat
  readonly compression: Compression
  /** Calendar day in the cluster's zone. */
  readonly day: Temporal.PlainDate
}

export interface ChosenNames {
  keysIn(repository: Repository): DumpKeys
  /** Called under the lease: a key that was taken or burnt meanwhile is refused. */
  requireFree(keys: DumpKeys, state: ClusterState): DumpKeys
}

/**
 * Chooses a file name that is free in every repository: the wished one, else (where that is allowed) the same with the run's random
 * suffix. Nothing is ever overwritten: the storage creates files only where there is none, whatever is chosen here.
 */
export async function chooseNames(request: NameRequest, repositories: readonly Repository[], content: NamedContent, context: Context): Promise<ChosenNames> {
  const states = await Promise.all(
    repositories.map(async (repository) => ({ repository, state: await readClusterLog(repository.storage, request.cluster, context) })),
  )
  const suffix = request.run.split('-').at(-1) ?? request.run
  for (const stem of [request.stem, `${request.stem}-${suffix}`]) {
    const keys = new Map(
      states.map(({ repository, state }) => [
        repository,
        keysFor({ ...content, stem, layout: repository.layout, isSealed: repository.keyring !== null, ...standsIn(state, content.day, request.timeZone) }),
      ]),
    )
    const taken = await findTaken(request, states, keys, context)
    const [first] = keys.values()
    if (taken === null && first !== undefined) {
      return {
        keysIn: (repository) => keys.get(repository) ?? first,
        requireFree: (own, state) => {
          if (state.burntKeys.has(own.dump) || isUsed(state, own)) throw nameTaken(request, own.fileName)
          return own
        },
      }
    }
    if (!request.nameUnique) throw nameTaken(request, taken ?? stem)
  }
  throw nameTaken(request, request.stem)
}

async function findTaken(
  request: NameRequest,
  states: readonly { repository: Repository; state: ClusterState }[],
  keys: ReadonlyMap<Repository, DumpKeys>,
  context: Context,
): Promise<string | null> {
  for (const { repository, state } of states) {
    const own = keys.get(repository)
    if (own === undefined) continue
    if (request.name !== null && !request.nameUnique && livingBackups(state).some((record) => record.facts.name === request.name)) return request.name
    if (state.burntKeys.has(own.dump) || isUsed(state, own)) return own.fileName
    for (const key of [own.dump, own.info, own.globals, ...own.copies]) if ((await repository.storage.stat(key, context)) !== undefined) return key
    // A folder of that name, too: a directory dump would go into it, and be removed with all that is in it.
    for await (const object of repository.storage.list(`${own.dump}/`, context)) return object.key
  }
  return null
}

function isUsed(state: ClusterState, keys: DumpKeys): boolean {
  return livingBackups(state).some((record) => record.facts.key === keys.dump || record.facts.fileName === keys.fileName)
}

function nameTaken(request: NameRequest, what: string): Failure {
  return new Failure('name-taken', `a backup or file called "${what}" exists, and nothing is overwritten`, {
    hints: request.name === null ? ['start again: the name holds the time'] : ['choose another --name, or add --name-unique for a suffix'],
  })
}

/** Whether this backup is the first complete good one of its week or month, or its day is the Sunday or the 1st: then it also goes to `weekly/` or `monthly/`. */
export function standsIn(state: ClusterState, day: Temporal.PlainDate, timeZone: string): { weekly: boolean; monthly: boolean } {
  const days = livingBackups(state)
    .filter((record) => record.state !== 'damaged' && !record.facts.partial)
    .map((record) => Temporal.Instant.from(record.facts.startedAt).toZonedDateTimeISO(timeZone).toPlainDate())
  const sameWeek = days.some((other) => other.year === day.year && weekOfYear(other) === weekOfYear(day))
  const sameMonth = days.some((other) => other.year === day.year && other.month === day.month)
  return { weekly: day.dayOfWeek === 7 || !sameWeek, monthly: day.day === 1 || !sameMonth }
}
