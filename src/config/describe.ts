import { formatConnectionUrl } from '../postgres/connection-url.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import { formatCompression } from './compression.ts'
import type { ClusterSettings, EncryptionSettings, RepositorySettings, Settings } from './settings.ts'

/** One line of `config show`: never holds a secret. */
export interface DescribedSetting {
  readonly path: string
  readonly value: string
  readonly origin: string
}

/** Every effective setting with the place it came from. */
export function describeSettings(settings: Settings): DescribedSetting[] {
  const rows: DescribedSetting[] = []
  const add = (path: string, value: unknown) => rows.push({ path, value: show(value), origin: originOf(settings, path) })
  for (const cluster of Object.values(settings.clusters)) describeCluster(cluster, (key, value) => add(`clusters.${cluster.name}.${key}`, value))
  for (const repository of Object.values(settings.repositories))
    describeRepository(repository, (key, value) => add(`repositories.${repository.name}.${key}`, value))
  describeEncryption(settings.encryption, (key, value) => add(`encryption${key}`, value))
  add('pgBin', settings.pgBin)
  for (const key of ['work', 'cache', 'containerWork'] as const) if (settings.directories[key] !== null) add(`directories.${key}`, settings.directories[key])
  for (const { setting, value, origin, area } of settings.notActing)
    rows.push({ path: setting, value: `${show(value)} (checked; ${area} does not act in this version)`, origin })
  return rows
}

type Add = (key: string, value: unknown) => void

function describeCluster(cluster: ClusterSettings, add: Add): void {
  const { target, dump, drill, hooks } = cluster
  add('url', formatConnectionUrl(target))
  for (const key of ['host', 'port', 'user', 'database'] as const) add(key, target[key])
  add('password', target.password === null ? null : '[secret]')
  add('passFile', target.passFile)
  add('tls.mode', target.tls.mode)
  for (const key of ['rootCertFile', 'certFile', 'keyFile'] as const) if (target.tls[key] !== null) add(`tls.${key}`, target.tls[key])
  add('connectTimeoutSeconds', target.connectTimeoutSeconds)
  add(
    'container',
    target.container === null ? null : target.container.kind === 'container' ? target.container.name : `compose service ${target.container.service}`,
  )
  add('adminUrl', cluster.adminTarget === null ? null : formatConnectionUrl(cluster.adminTarget))
  add('enabled', cluster.enabled)
  add('timezone', cluster.timeZone)
  add('repositories', cluster.repositories)
  add('dump.databases', dump.databases.length === 0 ? [target.database] : dump.databases)
  add('dump.format', dump.format)
  add('dump.compress', formatCompression(dump.compression))
  add('dump.jobs', dump.jobs)
  add('dump.name', dump.nameTemplate)
  add('dump.globals', dump.globals)
  add('dump.fingerprint', dump.fingerprint)
  add('dump.lockWait', `${cluster.lockWaitSeconds}s`)
  add('drill.server', typeof drill.server === 'string' ? drill.server : formatConnectionUrl(drill.server))
  for (const { table, by, rows } of drill.newest) add('drill.newest', `${table} by ${by}, ${rows} rows`)
  for (const check of cluster.checks) add('checks', `${check.sql} → ${String(check.expect)}`)
  for (const key of ['beforeRestore', 'afterRestore', 'onFailure'] as const) add(`hooks.${key}`, hooks[key])
}

function describeEncryption({ wanted, recipients, hostKey, kitFile, identities, passphraseFile, root }: EncryptionSettings, add: Add): void {
  add('', wanted === null ? 'as soon as this host has a key' : wanted === 'sealed' ? 'required' : 'none')
  add('.hostKey', hostKey?.path)
  if (recipients.length > 0) add('.recipients', recipients)
  if (identities.length > 0)
    add(
      '.identities',
      identities.map((identity) => (identity.kind === 'file' ? identity.path : '[secret]')),
    )
  if (kitFile !== null) add('.kit', kitFile)
  if (passphraseFile !== null) add('.passphraseFile', passphraseFile)
  if (root !== null) add('.root', root)
}

function describeRepository({ storage, layout, bandwidth, isClear }: RepositorySettings, add: Add): void {
  if (storage.kind === 'posix') {
    add('path', storage.path)
    add('dirMode', octal(storage.dirMode))
    add('fileMode', octal(storage.fileMode))
    add('owner', storage.owner)
    add('group', storage.group)
  } else {
    for (const key of ['bucket', 'prefix', 'region', 'endpoint', 'forcePathStyle', 'profile', 'storageClass', 'caFile', 'checksums', 'multipartBytes'] as const)
      add(`s3.${key}`, storage[key])
    for (const key of ['accessKeyId', 'secretAccessKey', 'sessionToken'] as const) add(`s3.${key}`, storage[key] === null ? null : '[secret]')
  }
  add('layout', layout)
  add('bandwidth', bandwidth === null ? null : `${bandwidth} bytes/s`)
  if (isClear) add('encryption', 'none')
}

const octal = (mode: number) => `0${mode.toString(8)}`

/** Text for people; a Secret shows itself as `[secret]` in all of these forms. */
function show(value: unknown): string {
  if (value === null || value === undefined || value === '') return '-'
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value.join(', ')
  return typeof value === 'string' ? value : JSON.stringify(value).replace(/^"(.*)"$/s, '$1')
}

/** The origin of the setting itself, else of the block it is in. */
function originOf(settings: Settings, path: string): string {
  for (let at = path; at !== ''; at = at.includes('.') ? at.slice(0, at.lastIndexOf('.')) : '') {
    const origin = Object.hasOwn(settings.origins, at) ? settings.origins[at] : undefined
    if (origin !== undefined) return origin
  }
  return 'default'
}

/** `error`: cannot be used; `warning`: works, and should be put right; `note`: has no effect, or differs from what one might expect. */
export interface Finding {
  readonly severity: 'error' | 'warning' | 'note'
  readonly message: string
}

/** What is wrong or doubtful with settings that could be loaded. What cannot be loaded is a Failure of `loadSettings`. */
export function checkSettings(settings: Settings): Finding[] {
  const clusters = Object.values(settings.clusters)
  const errors = [...(clusters.length === 0 ? ['no cluster is configured: set DATABASE_URL, or run tidemark init'] : []), ...sharedPlaces(settings)]
  const warnings = [...settings.warnings, ...clusters.flatMap(clusterWarnings), ...Object.values(settings.repositories).flatMap(repositoryWarnings)]
  const notes = [
    ...settings.notes,
    ...settings.ignored.map(({ variable, reason }) => `${variable} has no effect: ${reason}`),
    ...settings.notActing.map(({ setting, origin, area }) => `${setting} (${origin}) is checked and kept, but ${area} does not act in this version`),
  ]
  return [
    ...errors.map((message) => ({ severity: 'error' as const, message })),
    ...warnings.map((message) => ({ severity: 'warning' as const, message })),
    ...notes.map((message) => ({ severity: 'note' as const, message })),
  ]
}

/** Two names for one place would be two repositories in each other's way, and no second copy. */
function sharedPlaces(settings: Settings): string[] {
  const places = new Map<string, string>()
  const messages: string[] = []
  for (const { name, storage } of Object.values(settings.repositories)) {
    const place = storage.kind === 'posix' ? storage.path : `s3://${storage.endpoint ?? ''}/${storage.bucket}/${storage.prefix}`
    const other = places.get(place)
    if (other === undefined) places.set(place, name)
    else messages.push(`repositories "${other}" and "${name}" lie in the same place`)
  }
  return messages
}

function clusterWarnings(cluster: ClusterSettings): string[] {
  const warnings: string[] = []
  const { target } = cluster
  if (isRemote(target) && ['disable', 'allow', 'prefer'].includes(target.tls.mode)) {
    const danger = `TLS mode ${target.tls.mode} protects neither password nor rows on the way to ${target.host ?? ''}`
    warnings.push(`cluster "${cluster.name}": ${danger}; use verify-full, at least require`)
  }
  if (!cluster.enabled) warnings.push(`cluster "${cluster.name}" is disabled: nothing is scheduled for it; commands by hand still work`)
  return warnings
}

function isRemote(target: ConnectionTarget): boolean {
  const { host, container } = target
  return container === null && host !== null && !host.startsWith('/') && !/^(?:localhost|127(?:\.\d+){3}|::1)$/i.test(host)
}

function repositoryWarnings({ name, storage }: RepositorySettings): string[] {
  if (storage.kind === 'posix') {
    const open = (storage.dirMode | storage.fileMode) & 0o007
    return open === 0 ? [] : [`repository "${name}": its permissions let every account of this machine read or write backups`]
  }
  return storage.endpoint?.startsWith('http://') === true ? [`repository "${name}": ${storage.endpoint} is not encrypted on the way; use https://`] : []
}
