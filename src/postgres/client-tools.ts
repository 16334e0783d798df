import { readdir, realpath } from 'node:fs/promises'
import { platform } from 'node:os'
import { basename, delimiter, dirname, isAbsolute, join } from 'node:path'
import { Failure, isFailure, systemCodeOf } from '../kernel/failure.ts'
import { type ContainerAccess, nameOfContainer } from './container.ts'
import { runProgram } from './run-program.ts'

export const clientToolNames = ['pg_dump', 'pg_restore', 'psql', 'pg_dumpall'] as const
export type ClientToolName = (typeof clientToolNames)[number]

/** One client program of a known version. */
export interface ClientTool {
  readonly name: ClientToolName
  /** Absolute on the host; a name or path inside the container. */
  readonly path: string
  /** `15.14`, `18beta1`. */
  readonly version: string
  readonly major: number
  /** Null: on this host. */
  readonly container: ContainerAccess | null
}

/** The client programs of one directory (or container) that have the same version. */
export interface ClientTools {
  readonly major: number
  readonly version: string
  readonly directory: string
  readonly container: ContainerAccess | null
  readonly programs: Readonly<Partial<Record<ClientToolName, ClientTool>>>
}

export interface ToolSearch {
  /** The value of PATH, handed in. */
  readonly path: string
  /** Searched first, for example TIDEMARK_PG_BIN. */
  readonly extraDirs?: readonly string[]
  readonly signal?: AbortSignal
}

/** Where installers put client programs of one major each: parent directory, and what stands below it. */
const versionedDirectories: readonly (readonly [parent: string, child: RegExp, bin: string])[] = [
  ['/usr/lib/postgresql', /^\d+$/, 'bin'],
  ['/usr', /^pgsql-\d+$/, 'bin'],
  ['/usr/libexec', /^postgresql\d+$/, ''],
  ['/opt/homebrew/opt', /^(postgresql(@\d+)?|libpq(@\d+)?)$/, 'bin'],
  ['/usr/local/opt', /^(postgresql(@\d+)?|libpq(@\d+)?)$/, 'bin'],
  ['/home/linuxbrew/.linuxbrew/opt', /^(postgresql(@\d+)?|libpq(@\d+)?)$/, 'bin'],
  ['/Applications/Postgres.app/Contents/Versions', /^\d+$/, 'bin'],
  ['/usr/local', /^pgsql$/, 'bin'],
]

/** All client programs of this host: extra directories, PATH, then the places of the usual packages. */
export async function discoverClientTools(search: ToolSearch): Promise<readonly ClientTools[]> {
  const directories = [...(search.extraDirs ?? []), ...search.path.split(delimiter).filter(isAbsolute), ...(await packagedDirectories())]
  const found: ClientTools[] = []
  const seen = new Set<string>()
  for (const directory of directories) {
    const tools = await toolsIn(directory, seen, search.signal)
    found.push(...groupByVersion(tools))
  }
  return found
}

/** The directories of the usual packages that are there. */
export async function packagedDirectories(): Promise<readonly string[]> {
  const lists = await Promise.all(
    versionedDirectories.map(async ([parent, child, bin]) =>
      (await readdir(parent).catch(none)).filter((name) => child.test(name)).map((name) => join(parent, name, bin)),
    ),
  )
  return lists.flat()
}

async function toolsIn(directory: string, seen: Set<string>, signal?: AbortSignal): Promise<readonly ClientTool[]> {
  const programs: { name: ClientToolName; path: string }[] = []
  for (const name of clientToolNames) {
    const path = join(directory, name)
    const real = await realpath(path).catch(() => null)
    // Debian's /usr/bin/pg_dump is a script that chooses a version by clusters and files of its own; the real ones are found anyway.
    if (real === null || seen.has(real) || basename(real) === 'pg_wrapper') continue
    seen.add(real)
    programs.push({ name, path })
  }
  const versions = await Promise.all(programs.map(({ path }) => versionOf(path, signal)))
  return programs.flatMap((program, index) => {
    const version = versions[index] ?? null
    return version === null ? [] : [{ ...program, ...version, container: null }]
  })
}

async function versionOf(path: string, signal?: AbortSignal): Promise<{ version: string; major: number } | null> {
  try {
    const run = await runProgram(path, ['--version'], { environment: { LC_ALL: 'C', PATH: '/usr/bin:/bin' }, ...(signal === undefined ? {} : { signal }) })
    return run.exitCode === 0 ? parseToolVersion(run.stdout) : null
  } catch (error) {
    if (isFailure(error, 'tool-missing')) return null
    throw error
  }
}

/** `pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` → 15.14, 15. Null when it is something else. */
export function parseToolVersion(text: string): { version: string; major: number } | null {
  const [, version, major] = /\(PostgreSQL\) ((\d+)[\w.]*)/.exec(text) ?? []
  return version === undefined || major === undefined ? null : { version, major: Number(major) }
}

export function groupByVersion(tools: readonly ClientTool[]): readonly ClientTools[] {
  return [...Map.groupBy(tools, (tool) => tool.version)].map(([version, group]) => ({
    version,
    major: group[0]?.major ?? 0,
    directory: dirname(group[0]?.path ?? ''),
    container: group[0]?.container ?? null,
    programs: Object.fromEntries(group.map((tool) => [tool.name, tool])),
  }))
}

export type ToolPurpose = 'dump' | 'restore'

export interface ToolChoice {
  readonly tools: ClientTools
  /** Why these, for the note: `pg_dump 16.4 in /usr/lib/postgresql/16/bin (same major as the server)`. */
  readonly reason: string
}

export interface ToolWish {
  readonly serverMajor: number
  readonly purpose: ToolPurpose
  /** For a restore: the major of the pg_dump that wrote the archive; older programs cannot read newer formats. */
  readonly archiveMajor?: number
  /** Programs that must all be there. Default: pg_dump, or pg_restore and psql. */
  readonly programs?: readonly ClientToolName[]
}

/**
 * Ruling 10. To dump: the server's major, else the lowest newer one (an older pg_dump refuses a newer server). To restore: the
 * target's major if it reads the archive, else the lowest newer one, else the highest older one that reads it.
 */
export function chooseClientTools(found: readonly ClientTools[], wish: ToolWish): ToolChoice {
  const programs = wish.programs ?? (wish.purpose === 'dump' ? ['pg_dump'] : ['pg_restore', 'psql'])
  const usable = found.filter(
    (tools) =>
      programs.every((name) => tools.programs[name] !== undefined) &&
      (wish.archiveMajor === undefined || archiveFormat(tools.major) >= archiveFormat(wish.archiveMajor)),
  )
  const newerOrSame = usable.filter((tools) => tools.major >= wish.serverMajor).toSorted((a, b) => a.major - b.major || compareVersions(b.version, a.version))
  const older =
    wish.purpose === 'dump' ? [] : usable.filter((tools) => tools.major < wish.serverMajor).toSorted((a, b) => compareVersions(b.version, a.version))
  const chosen = newerOrSame[0] ?? older[0]
  if (chosen === undefined) throw missing(found, wish, programs)
  const fit = chosen.major === wish.serverMajor ? 'same major as the server' : `nearest to the server's major ${wish.serverMajor}`
  const place = chosen.container === null ? chosen.directory : 'the container'
  return { tools: chosen, reason: `${programs.join(', ')} ${chosen.version} in ${place} (${fit})` }
}

/** Versions of the archive format (pg_backup_archiver.h, K_VERS_…): 1.14 since 12, 1.15 since 16, 1.16 since 17. */
function archiveFormat(major: number): number {
  return major >= 17 ? 16 : major === 16 ? 15 : 14
}

function missing(found: readonly ClientTools[], wish: ToolWish, programs: readonly ClientToolName[]): Failure {
  const wanted = Math.max(wish.serverMajor, wish.archiveMajor ?? 0)
  const complete = found.filter((tools) => programs.every((name) => tools.programs[name] !== undefined))
  const there =
    complete.length === 0
      ? 'none is installed'
      : `found: ${complete.map((tools) => `${tools.version} (${tools.container === null ? tools.directory : 'container'})`).join(', ')}`
  const purpose =
    wish.purpose === 'dump'
      ? `dump a PostgreSQL ${wish.serverMajor} server`
      : `restore an archive of pg_dump ${wish.archiveMajor ?? wish.serverMajor} into PostgreSQL ${wish.serverMajor}`
  return new Failure('tool-missing', `cannot ${purpose}: it needs ${programs.join(' and ')} ${wanted} or newer; ${there}`, {
    hints: found[0]?.container === null || found[0] === undefined ? installHints(wanted) : containerHints(found[0].container, wanted),
    details: { major: wanted, programs },
  })
}

/** What is installed on this host does not matter there. */
function containerHints({ container }: ContainerAccess, major: number): readonly string[] {
  const version =
    container.kind === 'container' ? `docker exec ${container.name} pg_dump --version` : `docker compose exec ${container.service} pg_dump --version`
  return [
    `is ${nameOfContainer(container)} the one with the server? see: ${version}`,
    `or use programs of this host: publish the port, set DATABASE_URL to it, and leave the container out; ${installHints(major)[0] ?? ''}`,
  ]
}

/** The commands that install the client programs of a major. */
export function installHints(major: number, on: string = platform()): readonly string[] {
  if (on === 'darwin') return [`brew install postgresql@${major}`, 'or name their directory: TIDEMARK_PG_BIN=/path/to/bin']
  return [
    `sudo apt-get install postgresql-client-${major}`,
    `where the distribution has none: sudo apt-get install postgresql-common && sudo /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y && sudo apt-get install postgresql-client-${major}`,
    `Red Hat: sudo dnf install postgresql${major}; Alpine: apk add postgresql${major}-client`,
    'or name their directory: TIDEMARK_PG_BIN=/path/to/bin',
  ]
}

function compareVersions(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true })
}

function none(error: unknown): [] {
  if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemCodeOf(error) ?? '')) return []
  throw error
}
