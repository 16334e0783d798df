import { lstatSync, type Stats } from 'node:fs'
import { readdir, readlink, realpath } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { systemCodeOf } from '../../kernel/failure.ts'
import { whyLeftOut, type ExclusionOptions } from '../../pgdata/exclusions.ts'
import { pathBytes } from '../../pgdata/file-path.ts'
import { isUnlogged, relationFileOf } from '../../pgdata/relation-path.ts'
import type { FileHead } from './file-part.ts'
import { sourceUnreadable } from './source-unreadable.ts'

/** What a base backup takes from a data directory. Paths are relative to it, `latin1`, and as BASE_BACKUP has them. */
export type FoundEntry =
  | ({ readonly kind: 'file' } & FileHead)
  | { readonly kind: 'directory'; readonly path: string; readonly mode: number }
  /** Neither a file nor a directory: no base backup holds it, the server's own neither. */
  | { readonly kind: 'left-out'; readonly path: string; readonly why: string }

export interface WalkOptions {
  readonly rules: ExclusionOptions
  /** Of the system catalogs: a tablespace may serve several servers of one major. */
  readonly catalogVersion: number
  /** The names in `pg_tblspc` that are walked. What was made since is in WAL. */
  readonly tablespaces: ReadonlySet<string>
}

/** Files after which the rest of the program has its turn: WAL is received meanwhile. */
const filesAtOnce = 256

/**
 * Everything that the server's own base backup would send, directory by directory, in the order of the names; `global/pg_control` too. What comes and goes meanwhile may be missing, or
 * named although it is gone. Only the names of one directory at a time are in memory. Rejects with `source-unreadable`.
 */
export async function* walkCluster(root: string, { rules, catalogVersion, tablespaces }: WalkOptions): AsyncGenerator<FoundEntry, void, undefined> {
  const tablespaceVersion = `PG_${rules.major}_${catalogVersion}`
  const isTablespace = await tablespacesInside(root, tablespaces)
  // The server makes directories with these bits.
  const ownMode = statOf(root, '.')?.mode ?? 0o700
  let seen = 0
  for (const pending = ['']; pending.length > 0;) {
    const directory = pending.pop() ?? ''
    const below: string[] = []
    for (const name of await taken(root, directory, rules)) {
      const path = join(directory, name)
      seen += 1
      if (seen % filesAtOnce === 0) await nextTurn()
      const stat = statOf(root, path)
      if (stat === null) continue
      const mode = stat.mode & 0o7777
      const depth = path.startsWith('pg_tblspc/') ? path.split('/').length : 0
      if (path === 'pg_wal') yield* walDirectories(stat.isDirectory() ? mode : ownMode & 0o777, rules)
      else if (depth === 2) below.push(...(tablespaces.has(name) ? [path] : []))
      else if (depth === 3 && name !== tablespaceVersion) continue
      else if (stat.isFile()) yield { kind: 'file', path, mode, sizeBytes: stat.size }
      else if (stat.isDirectory()) {
        yield { kind: 'directory', path, mode }
        if (!isTablespace.has(path)) below.push(path)
      } else if (isEmptied(path, rules)) yield { kind: 'directory', path, mode: ownMode & 0o777 }
      else yield { kind: 'left-out', path, why: whySpecial(stat) }
    }
    pending.push(...below.reverse())
  }
}

/** The names in `pg_tblspc`: a link for each tablespace. Rejects with `source-unreadable`. */
export async function listTablespaces(root: string): Promise<ReadonlySet<string>> {
  return new Set((await namesIn(root, 'pg_tblspc')).filter((name) => /^[1-9]\d*$/.test(name)))
}

/** The names in a directory that are not left out by the rules, in their order. */
async function taken(root: string, directory: string, rules: ExclusionOptions): Promise<readonly string[]> {
  const names = (await namesIn(root, directory)).filter((name) => whyLeftOut(join(directory, name), rules) === null)
  const relations = names.map((name) => relationFileOf(join(directory, name)))
  if (relations.every((relation) => relation === null)) return names
  // Listed again: the init fork of a relation is made after its main fork, maybe just now.
  const all = new Set(await namesIn(root, directory))
  return names.filter((_name, index) => {
    const relation = relations[index] ?? null
    return relation === null || !isUnlogged(relation, all)
  })
}

/** The server sends them, whatever is in the place of pg_wal, and nothing in them. */
function* walDirectories(mode: number, { major }: ExclusionOptions): Generator<FoundEntry, void, undefined> {
  yield { kind: 'directory', path: 'pg_wal', mode }
  yield { kind: 'directory', path: 'pg_wal/archive_status', mode }
  if (major >= 17) yield { kind: 'directory', path: 'pg_wal/summaries', mode }
}

/** Whether the server sends a directory empty, so that it does not matter where a link in its place leads. */
function isEmptied(path: string, rules: ExclusionOptions): boolean {
  return whyLeftOut(`${path}/anything`, rules) !== null
}

function whySpecial(stat: Stats): string {
  return stat.isSymbolicLink() ? 'it is a link, and only tablespaces and pg_wal may be links' : 'it is neither a file nor a directory'
}

/** Tablespaces that lie in the data directory, against all advice: what is in them is found once, below `pg_tblspc`. */
async function tablespacesInside(root: string, tablespaces: ReadonlySet<string>): Promise<ReadonlySet<string>> {
  const inside = new Set<string>()
  for (const oid of tablespaces) {
    const path = `pg_tblspc/${oid}`
    try {
      const link = pathBytes(under(root, path))
      await readlink(link)
      const [real, target] = [await realPath(pathBytes(root)), await realPath(link)]
      if (target.startsWith(`${real}/`)) inside.add(target.slice(real.length + 1))
    } catch (error) {
      // It was dropped meanwhile, or is what developers of PostgreSQL use: a directory in the place of the link.
      if (!['ENOENT', 'EINVAL'].includes(systemCodeOf(error) ?? '')) throw sourceUnreadable(path, error)
    }
  }
  return inside
}

async function realPath(path: Buffer): Promise<string> {
  return (await realpath(path, { encoding: 'buffer' })).toString('latin1')
}

/** None for a directory that is gone: a database that was dropped. */
async function namesIn(root: string, directory: string): Promise<string[]> {
  try {
    return (await readdir(pathBytes(under(root, directory)), { encoding: 'latin1' })).sort()
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return []
    throw sourceUnreadable(directory, error)
  }
}

/** Null for what is gone. At once: asking a thread of libuv costs five times as much, and there may be 100,000 files. */
function statOf(root: string, path: string): Stats | null {
  try {
    return lstatSync(pathBytes(under(root, path)), { throwIfNoEntry: false }) ?? null
  } catch (error) {
    throw sourceUnreadable(path, error)
  }
}

const join = (directory: string, name: string): string => (directory === '' ? name : `${directory}/${name}`)
const under = (root: string, path: string): string => (path === '' ? root : `${root}/${path}`)
