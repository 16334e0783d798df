import { Failure } from '../kernel/failure.ts'
import { agreeing, attributed, type Environment } from './environment.ts'
import { parsePath, type PathBase } from './file-paths.ts'
import { resolveS3, type S3Written } from './s3.ts'
import { resolveReference, type ReferenceContext } from './secrets.ts'
import type { Sourced } from './connection.ts'
import type { RepositorySettings, StorageSettings } from './settings.ts'
import type { RepositoryConfig } from './schema.ts'
import { parseBandwidth, parseSize, parseTruth } from './units.ts'
import { parseBucket, parsePrefix } from './variable-rules.ts'
import type { SettingPath } from './yaml-file.ts'

export const defaultDirMode = 0o700
export const defaultFileMode = 0o600

/** Where a `--repo` points: a configured name, a directory, or `s3://bucket/prefix`. */
export type RepositoryReference =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string }

/** A word without `/` is a name, unless it begins with a dot or tilde; everything else is a place. */
export function parseRepositoryReference(text: string): RepositoryReference {
  const s3 = /^s3:\/\/([^/]*)(?:\/(.*))?$/i.exec(text)
  if (s3 !== null) return { kind: 's3', bucket: parseBucket(s3[1] ?? ''), prefix: parsePrefix(s3[2] ?? '') }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]
  if (scheme !== undefined && scheme.toLowerCase() !== 'file')
    throw new Failure('usage-invalid', `cannot use a repository of kind ${scheme}://: possible are a directory and s3://bucket/prefix`)
  const path = text.replace(/^file:\/\/(?=\/)/i, '')
  return /^[~.]|[/$]/.test(path) ? { kind: 'path', path } : { kind: 'name', name: path }
}

export interface RepositoryParts {
  readonly repositories: Record<string, RepositorySettings>
  readonly origins: Record<string, string>
}

interface Place {
  readonly environment: Environment
  readonly paths: PathBase
}

/** The repositories of the configuration file. */
export async function fileRepositories(configs: Readonly<Record<string, RepositoryConfig>>, references: ReferenceContext): Promise<RepositoryParts> {
  const result: RepositoryParts = { repositories: Object.create(null), origins: {} }
  for (const [name, config] of Object.entries(configs)) {
    const path: SettingPath = ['repositories', name]
    const own: Record<string, string> = {}
    const storage =
      config.s3 === undefined
        ? await posixFromFile(config, { path, references, origins: own })
        : await s3FromFile(config.s3, { path: [...path, 's3'], references, origins: own })
    const originOf = (key: keyof RepositoryConfig) => (config[key] === undefined ? 'default' : references.source.originOf([...path, key]))
    own['layout'] = originOf('layout')
    own['bandwidth'] = originOf('bandwidth')
    own['encryption'] = originOf('encryption')
    result.repositories[name] = {
      name,
      storage,
      layout: config.layout ?? 'flat',
      bandwidth: config.bandwidth === undefined ? null : parseBandwidth(config.bandwidth),
      isClear: config.encryption === 'none',
    }
    for (const [key, origin] of Object.entries(own)) result.origins[`repositories.${name}.${key}`] = origin
  }
  return result
}

interface FilePlace {
  readonly path: SettingPath
  readonly references: ReferenceContext
  readonly origins: Record<string, string>
}

async function posixFromFile(config: RepositoryConfig, { path, references, origins }: FilePlace): Promise<StorageSettings> {
  const written = await resolveReference(config.path ?? '', [...path, 'path'], references)
  const originOf = (key: keyof RepositoryConfig) => (config[key] === undefined ? 'default' : references.source.originOf([...path, key]))
  for (const key of ['dirMode', 'fileMode', 'owner', 'group'] as const) origins[key] = originOf(key)
  origins['path'] = written.origin
  const octal = (text: string) => Number.parseInt(text.replace(/^0?o/, ''), 8)
  return {
    kind: 'posix',
    path: attributed({ name: `${path.join('.')}.path`, text: written.text, origin: written.origin }, (text) => parsePath(text, references.paths)),
    dirMode: config.dirMode === undefined ? defaultDirMode : octal(config.dirMode),
    fileMode: config.fileMode === undefined ? defaultFileMode : octal(config.fileMode),
    owner: config.owner ?? null,
    group: config.group ?? null,
  }
}

async function s3FromFile(config: NonNullable<RepositoryConfig['s3']>, { path, references, origins }: FilePlace): Promise<StorageSettings> {
  const follow = async (key: keyof typeof config): Promise<Record<string, Sourced>> => {
    const value = config[key]
    if (typeof value !== 'string') return {}
    const resolved = await resolveReference(value, [...path, key], references)
    return { [key]: { value: resolved.text, origin: resolved.origin } }
  }
  const texts: Record<string, Sourced> = {}
  for (const key of ['bucket', 'prefix', 'region', 'endpoint', 'accessKeyId', 'secretAccessKey', 'sessionToken', 'profile', 'storageClass', 'caFile'] as const)
    Object.assign(texts, await follow(key))
  const bucket = texts['bucket'] ?? { value: '', origin: references.source.originOf(path) }
  const checked = <T>(key: string, parse: (text: string) => T): Record<string, Sourced<T>> => {
    const found = texts[key]
    return found === undefined
      ? {}
      : { [key]: { value: attributed({ name: [...path, key].join('.'), text: found.value, origin: found.origin }, parse), origin: found.origin } }
  }
  const originOf = (key: string) => references.source.originOf([...path, key])
  const written: S3Written = {
    ...texts,
    bucket: { value: attributed({ name: 'bucket', text: bucket.value, origin: bucket.origin }, parseBucket), origin: bucket.origin },
    ...checked('prefix', parsePrefix),
    ...checked('caFile', (text) => parsePath(text, references.paths)),
    ...(config.forcePathStyle === undefined ? {} : { forcePathStyle: { value: parseTruth(config.forcePathStyle), origin: originOf('forcePathStyle') } }),
    ...(config.checksums === undefined ? {} : { checksums: { value: config.checksums, origin: originOf('checksums') } }),
    ...(config.multipartSize === undefined
      ? {}
      : { multipartBytes: { value: multipartBytes(config.multipartSize, originOf('multipartSize')), origin: originOf('multipartSize') } }),
  }
  return resolveS3(written, { environment: references.environment, paths: references.paths, origins })
}

/** S3 takes parts of 5 MiB to 5 GiB. */
function multipartBytes(written: string | number, origin: string): number {
  const bytes = parseSize(written)
  if (bytes < 5 * 2 ** 20 || bytes > 5 * 2 ** 30) throw new Failure('config-invalid', `cannot use ${origin} as size of parts: S3 takes 5MB to 5GB`)
  return bytes
}

/** Without a file: `local` at BACKUP_DIR, and `s3` when S3_BUCKET_NAME is set. Empty when no variable names a place. */
export function variableRepositories({ environment, paths }: Place): RepositoryParts {
  const result: RepositoryParts = { repositories: Object.create(null), origins: {} }
  const directory = agreeing(environment, ['BACKUP_DIR', 'BACKUP_DIRECTORY'], (text) => parsePath(text, paths))
  if (directory !== undefined) addPosix(result, { name: 'local', path: attributed(directory, (text) => parsePath(text, paths)), origin: directory.origin })
  const bucket = environment.take('S3_BUCKET_NAME')
  if (bucket === undefined) {
    for (const name of ['S3_REGION', 'BACKUP_S3_PREFIX']) environment.ignore(name, 'S3_BUCKET_NAME is not set')
    return result
  }
  const prefix = environment.take('BACKUP_S3_PREFIX')
  const region = environment.take('S3_REGION')
  addS3(
    result,
    {
      name: 's3',
      layout: 'tiered',
      written: {
        bucket: { value: bucket.text, origin: bucket.origin },
        ...(prefix === undefined ? {} : { prefix: { value: parsePrefix(prefix.text), origin: prefix.origin } }),
        ...(region === undefined ? {} : { region: { value: region.text, origin: region.origin } }),
      },
    },
    { environment, paths },
  )
  return result
}

export function addPosix(parts: RepositoryParts, repository: { readonly name: string; readonly path: string; readonly origin: string }): void {
  const { name, path, origin } = repository
  parts.repositories[name] = {
    name,
    storage: { kind: 'posix', path, dirMode: defaultDirMode, fileMode: defaultFileMode, owner: null, group: null },
    layout: 'flat',
    bandwidth: null,
    isClear: false,
  }
  parts.origins[`repositories.${name}.path`] = origin
  for (const key of ['layout', 'bandwidth', 'dirMode', 'fileMode', 'owner', 'group']) parts.origins[`repositories.${name}.${key}`] = 'default'
}

export function addS3(
  parts: RepositoryParts,
  repository: { readonly name: string; readonly layout: RepositorySettings['layout']; readonly written: S3Written },
  place: Place,
): void {
  const own: Record<string, string> = {}
  const storage = resolveS3(repository.written, { ...place, origins: own })
  parts.repositories[repository.name] = { name: repository.name, storage, layout: repository.layout, bandwidth: null, isClear: false }
  parts.origins[`repositories.${repository.name}.layout`] = repository.layout === 'tiered' ? repository.written.bucket.origin : 'default'
  parts.origins[`repositories.${repository.name}.bandwidth`] = 'default'
  for (const [key, origin] of Object.entries(own)) parts.origins[`repositories.${repository.name}.${key}`] = origin
}
