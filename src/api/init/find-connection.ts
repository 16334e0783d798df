import { readFile, stat } from 'node:fs/promises'
import { join, relative, resolve } from 'node:path'
import { loadSettings } from '../../config/load.ts'
import type { ClusterSettings, RepositorySettings } from '../../config/settings.ts'
import type { RepositoryAnswer } from '../../config/write.ts'
import type { Context } from '../../kernel/context.ts'
import { Failure, messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { Secret } from '../../kernel/secret.ts'
import { formatConnectionUrl } from '../../postgres/connection-url.ts'
import type { ConnectionTarget } from '../../postgres/target.ts'
import { makeStage } from '../../repository/stage.ts'
import type { Machine } from '../machine.ts'
import { newRunId } from '../run-id.ts'

export interface ConnectionWish {
  /** A URL, `env:NAME` or `file:PATH`; undefined: what the environment and `.env` say. */
  readonly url?: string
  readonly container?: string
  readonly envFile?: string
}

/** A server, and how the configuration file may name it without holding a password. */
export interface FoundConnection {
  readonly cluster: ClusterSettings
  /** What is written behind `url:`; null: the secret file, whose name depends on the cluster's. */
  readonly url: string | null
  /** Goes into the secret file. */
  readonly secret: Secret | null
  /** Where it came from, for people; null when it was given. */
  readonly origin: string | null
  /** Repositories that variables name already. */
  readonly repositories: readonly RepositoryAnswer[]
}

/** Finds the server that is meant, from the wish or the environment; null when nothing names one. The configuration that may exist is not looked at. */
export async function findConnection(machine: Machine, wish: ConnectionWish, context: Context): Promise<FoundConnection | null> {
  const reference = wish.url === undefined ? null : await followReference(machine, wish.url)
  const text = reference?.text ?? wish.url
  // Loading elsewhere than in the working directory keeps an older tidemark.yaml out.
  await using stage = await makeStage(machine.workDirectory, newRunId(context), context)
  const elsewhere = stage.path
  const envFile = wish.envFile === undefined ? await usualEnvFile(machine.cwd) : resolve(machine.cwd, wish.envFile)
  const { TIDEMARK_CONFIG: _config, ...env } = machine.env
  const settings = await loadSettings({
    flags: {
      ...(text === undefined ? {} : { databaseUrl: text }),
      ...(wish.container === undefined ? {} : { container: wish.container }),
      ...(envFile === null ? {} : { envFile }),
    },
    env,
    cwd: elsewhere,
    home: machine.home,
    isRoot: machine.isRoot,
    systemConfigFile: join(elsewhere, 'none.yaml'),
  })
  const [cluster] = Object.values(settings.clusters)
  if (cluster === undefined) return null
  const named = Object.values(settings.repositories).filter(
    ({ name, storage }) => settings.origins[`repositories.${name}.${storage.kind === 'posix' ? 'path' : 's3.bucket'}`] !== 'default',
  )
  const base = { cluster, repositories: named.map((repository) => answerOf(repository, elsewhere)) }
  if (reference !== null) return { ...base, url: wish.url ?? null, secret: null, origin: null }
  if (wish.url !== undefined) return { ...base, ...withoutPassword(cluster.target, wish.url), origin: null }

  const origin = (part: string) => settings.origins[`clusters.${cluster.name}.${part}`] ?? 'default'
  const isWhole = ['host', 'port', 'user', 'database', 'password'].every((part) => ['default', origin('url')].includes(origin(part)))
  if (origin('url').startsWith('DATABASE_URL') && isWhole) return { ...base, url: 'env:DATABASE_URL', secret: null, origin: origin('url') }
  // Several variables together name the server. Its parts are written as one URL; the password stays where it is, and fills what the file leaves out.
  const parts = formatConnectionUrl({ ...cluster.target, password: null, passFile: null, parameters: {} })
  if (origin('password') !== 'default' && origin('password') !== origin('url')) return { ...base, url: parts, secret: null, origin: origin('password') }
  return { ...base, ...withoutPassword(cluster.target, parts), origin: 'the environment' }
}

/** A URL without password may stand in the file; one with it goes into a file of its own. */
function withoutPassword(target: ConnectionTarget, url: string): Pick<FoundConnection, 'url' | 'secret'> {
  if (target.password === null) return { url, secret: null }
  const password = target.password.reveal()
  // The URL as given is kept to the letter; where the password came beside it, it is built anew.
  const holdsIt = url.includes('@') && (url.includes(password) || url.includes(encodeURIComponent(password)))
  return { url: null, secret: new Secret(holdsIt ? url : formatConnectionUrl(target).replace(':***@', () => `:${encodeURIComponent(password)}@`)) }
}

async function followReference(machine: Machine, url: string): Promise<{ text: string } | null> {
  const [, kind, place = ''] = /^(env|file):(.+)$/s.exec(url) ?? []
  if (kind === 'env') {
    const value = machine.env[place]
    if (value !== undefined && value !== '') return { text: value }
    throw new Failure('usage-invalid', `--url env:${place}: the variable is not set`, { hints: [`export ${place}=postgres://user:password@host/database`] })
  }
  if (kind === 'file') return { text: (await readUrlFile(resolve(machine.cwd, place), place)).replace(/\r?\n$/, '') }
  return null
}

async function readUrlFile(path: string, place: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error
    throw new Failure('usage-invalid', `--url file:${place}: the file cannot be read: ${messageOf(error)}`, {
      cause: error,
      hints: ['it holds one line: postgres://user:password@host/database', `ls -l ${path}`],
    })
  }
}

async function usualEnvFile(cwd: string): Promise<string | null> {
  const path = join(cwd, '.env')
  try {
    return (await stat(path)).isFile() ? path : null
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null
    throw error
  }
}

function answerOf({ name, storage, layout }: RepositorySettings, elsewhere: string): RepositoryAnswer {
  if (storage.kind === 'posix') {
    // What was relative to our own directory is meant relative to the working directory.
    const inside = relative(elsewhere, storage.path)
    return { name, path: inside.startsWith('..') ? storage.path : `./${inside}` }
  }
  const { bucket, region, prefix, endpoint } = storage
  return {
    name,
    s3: { bucket, ...(region === null ? {} : { region }), ...(prefix === '' ? {} : { prefix }), ...(endpoint === null ? {} : { endpoint }) },
    layout,
  }
}
