import { z } from 'zod'
import { parseCompression, parseZstd } from './compression.ts'
import { parseNameTemplate } from './name-template.ts'
import { recipientPattern, rootPattern } from './public-keys.ts'
import { alerts, archivedWal, contacts, files, goals, laterCheck, logs, notify, retention, schedule, ssh, walSlot } from './schema-later.ts'
import { command, later, parsed, secret, strict, text, truth, words } from './schema-parts.ts'
import { parseBandwidth, parseDuration, parsePeriod, parseSize, parseTimeZone } from './units.ts'
import { parseBucket, parsePrefix, tlsModes } from './variable-rules.ts'

/** The schema of `tidemark.yaml`, as it is written. `jsonSchema()` is the same for editors. */

const port = () => z.int('expected a port number').min(1, 'expected a port from 1 to 65535').max(65_535, 'expected a port from 1 to 65535')
const zone = () => parsed(parseTimeZone, ['Europe/Paris'])

const dump = strict(
  {
    databases: words().describe('databases to dump; default: the one of the connection').optional(),
    format: z.enum(['custom', 'plain', 'directory']).describe('default custom').optional(),
    compress: parsed(parseCompression, ['zstd:3', 'gzip:9', 'none']).describe('gzip:1-9, zstd:1-19 or none; default zstd:3').optional(),
    jobs: z.int().min(1).max(256).describe('compression workers (custom, plain) or pg_dump workers (directory)').optional(),
    name: parsed(parseNameTemplate, ['default', '<db>_backup_<YYYYMMDD_HHMMSS>'])
      .describe('file name template, or a preset: default, s0, s1, s2, s3, s4')
      .optional(),
    globals: truth().describe('also dump roles, memberships, tablespaces and settings; default true').optional(),
    fingerprint: truth().describe('record row counts and digests for the proof; default true').optional(),
    lockWait: parsed(parseDuration, ['5m']).describe('how long to wait for a table lock; default 5m').optional(),
  },
  { compression: 'write compress', nameTemplate: 'write name', level: 'write compress, such as gzip:9' },
).describe('how dumps are made')

const base = strict({
  enabled: truth().describe('backups are base backups of the whole cluster, unless a dump is asked for; default false').optional(),
  compress: parsed(parseZstd, ['zstd:1', 'zstd:9']).describe('zstd:1-19; default zstd:1').optional(),
  jobs: z.int().min(1).max(64).describe('threads that hash, compress and seal; default: one for each processor, at most 4').optional(),
  reader: z
    .enum(['auto', 'stream', 'direct'])
    .describe('how the files are read: by the replication protocol, or directly on the host of the database; default auto')
    .optional(),
  wal: archivedWal.optional(),
  slot: walSlot.optional(),
}).describe('base backups')

const newest = strict({
  table: text().describe('table, with its schema if it is not public'),
  by: text().describe('column that says what is newest'),
  rows: z.int().min(1).max(100).describe('default 5').optional(),
  mask: z.array(text()).describe('columns shown as ***').optional(),
})

const drill = strict(
  {
    server: z
      .union([z.enum(['same', 'embedded']), text()])
      .describe('same (default), embedded, or the URL of another server')
      .optional(),
    newest: z.array(newest).describe('tables whose newest rows the proof shows').optional(),
  },
  { in: 'write server: same, embedded or a URL' },
).describe('rehearsed restores')

const sqlCheck = strict({
  sql: text().describe('query run in the restored copy'),
  expect: z.union([z.string(), z.number(), z.boolean(), z.null()]).describe('first column of the first row'),
})

const hooks = strict({
  beforeRestore: command().describe('run first; if it fails, nothing is restored').optional(),
  afterRestore: command().describe('run afterwards, also when the restore failed').optional(),
  onFailure: command().describe('run when something failed').optional(),
}).describe('commands, as lists of arguments')

const compose = strict({
  service: text().describe('service name in the Compose file'),
  files: z.union([text(), words()]).describe('Compose files').optional(),
  project: text().describe('project name').optional(),
}).describe('the container, by its Compose service')

const tls = strict({
  mode: z.enum(tlsModes).describe('as sslmode').optional(),
  rootCert: text().describe('file of trusted certificates').optional(),
  cert: text().describe('client certificate file').optional(),
  key: text().describe('client key file').optional(),
}).describe('TLS to the server')

export const clusterSchema = strict(
  {
    url: text().describe('connection URL of the backup role; by reference when it holds a password').optional(),
    host: text().describe('instead of url: host, address or socket directory').optional(),
    port: port().describe('instead of url: default 5432').optional(),
    user: text().describe('instead of url').optional(),
    database: text().describe('instead of url').optional(),
    password: secret().describe('password, by reference').optional(),
    passFile: text().describe('libpq password file').optional(),
    tls: tls.optional(),
    connectTimeout: parsed(parseDuration, ['10s']).describe('how long to wait for a connection').optional(),
    adminUrl: text().describe('role for restore, swap and drill on the same server; by reference').optional(),
    enabled: truth().describe('false: nothing is scheduled, commands by hand still work').optional(),
    container: text().describe('run the client programs in this container').optional(),
    compose: compose.optional(),
    repositories: words().describe('repositories to write to; default all').optional(),
    timezone: zone().describe('in which days are counted; default: TZ, else the machine’s').optional(),
    dump: dump.optional(),
    drill: drill.optional(),
    checks: z
      .array(z.union([sqlCheck, laterCheck]))
      .describe('questions a restored copy must answer')
      .optional(),
    hooks: hooks.optional(),
    base: base.optional(),
    schedule: schedule.optional(),
    retention: retention.optional(),
    goals: goals.optional(),
    ssh: ssh.optional(),
    alerts: alerts.optional(),
    files: files.optional(),
    contacts: contacts.optional(),
    window: later('schedule', z.string().regex(/^(?:[01]\d|2[0-3]):[0-5]\d-(?:[01]\d|2[0-3]):[0-5]\d$/, 'expected hours such as "22:00-06:00"'))
      .describe('when scheduled work may run')
      .optional(),
    nice: later('schedule', z.int().min(0).max(19)).describe('priority of client programs').optional(),
    allowedRegions: later('residency', words()).describe('regions in which its backups may lie').optional(),
  },
  {
    sslmode: 'write tls: { mode: … }',
    interval: 'write schedule: { interval: 24h }',
    compress: 'write dump: { compress: … }',
    format: 'write dump: { format: … }',
    adminURL: 'write adminUrl',
    encryption: 'it is said for all repositories, at the top: encryption: { … }; or for one: encryption: none',
  },
)

const s3 = strict({
  bucket: parsed(parseBucket, ['nexo-backups']).describe('bucket'),
  region: text().describe('region').optional(),
  prefix: parsed(parsePrefix, ['db-backups']).describe('folder in the bucket').optional(),
  endpoint: text().describe('address of an S3-compatible store').optional(),
  forcePathStyle: truth().describe('bucket in the path instead of the host name; default: true with an endpoint').optional(),
  accessKeyId: text().describe('default: AWS_ACCESS_KEY_ID, profile, role').optional(),
  secretAccessKey: secret().describe('by reference').optional(),
  sessionToken: secret().describe('by reference').optional(),
  profile: text().describe('profile in ~/.aws').optional(),
  storageClass: text().describe('such as STANDARD_IA').optional(),
  caFile: text().describe('file of trusted certificates').optional(),
  checksums: z.enum(['auto', 'when-required']).describe('when-required for stores that refuse new checksums').optional(),
  multipartSize: z
    .union([parsed(parseSize, ['16MB']), z.int()])
    .describe('size of parts, 5MB to 5GB; default 16MB')
    .optional(),
}).describe('a bucket of S3 or a compatible store')

const mode = () => z.string().regex(/^0?o?[0-7]{3}$/, 'expected permissions in octal, such as "0700"')

const take = z.enum(['all', 'daily', 'weekly', 'monthly'])

export const repositorySchema = strict(
  {
    path: text().describe('directory; relative to the configuration file').optional(),
    s3: s3.optional(),
    layout: z.enum(['flat', 'tiered', 'dated']).describe('folders: none; daily/…, weekly/…, monthly/…; YYYY/MM/DD. Default flat').optional(),
    bandwidth: z
      .union([parsed(parseBandwidth, ['10MB/s']), z.int().min(1)])
      .describe('limit per second')
      .optional(),
    dirMode: mode().describe('permissions of directories, default "0700"').optional(),
    fileMode: mode().describe('permissions of files, default "0600"').optional(),
    owner: text().describe('owner of files and directories').optional(),
    group: text().describe('group of files and directories').optional(),
    encryption: z.literal('none').describe('none: in clear, on purpose').optional(),
    retention: retention.optional(),
    take: later('copies', z.union([take, z.array(take)]))
      .describe('which backups it takes')
      .optional(),
    region: later('residency', text()).describe('where the copy lies, for residency').optional(),
    legalMinAge: later('retention', parsed(parsePeriod, ['1y']))
      .describe('law forbids removing earlier')
      .optional(),
    legalMaxAge: later('retention', parsed(parsePeriod, ['10y']))
      .describe('law forbids keeping longer')
      .optional(),
  },
  {
    gcs: 'Google Cloud Storage is not available in this version; its S3 interface works: s3: { endpoint: https://storage.googleapis.com, … }',
    azure: 'Azure Blob is not available in this version',
    sftp: 'SFTP is not available in this version',
    url: 'write path: … or s3: { bucket, prefix }',
    bucket: 'write s3: { bucket: … }',
  },
).superRefine((repository, context) => {
  if ((repository.path === undefined) === (repository.s3 === undefined)) {
    context.addIssue({
      code: 'custom',
      message: repository.path === undefined ? 'expected path or s3' : 'expected either path or s3, not both: a repository lies in one place',
    })
  }
  if (repository.s3 !== undefined) {
    for (const key of ['dirMode', 'fileMode', 'owner', 'group'] as const) {
      if (repository[key] !== undefined) context.addIssue({ code: 'custom', path: [key], message: 'has no meaning in a bucket' })
    }
  }
})

const nameOf = (what: string) =>
  z
    .string()
    .regex(/^(?!__proto__$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/, `expected a ${what} name of at most 63 letters, digits, _ . -, not beginning with a dash or dot`)

const sealing = strict({
  recipients: z
    .array(z.string().regex(recipientPattern, 'expected a recipient of age (a public key), such as age1…: age-keygen prints it'))
    .describe('who else reads everything; members since tidemark key init or key add')
    .optional(),
  hostKey: text().describe('key file of this host; default ~/.config/tidemark/host.key, as root /etc/tidemark/host.key').optional(),
  identities: z
    .array(text().refine((written) => !/^(?:age-secret-key|tidemark-\w+-key)-/i.test(written), 'a secret is written by reference: a file, or env:NAME'))
    .describe('keys that open what is sealed: files, or env:NAME of a variable that holds one')
    .optional(),
  root: z
    .string()
    .regex(rootPattern, 'expected a root key, such as tidemark-root1…: the recovery kit names it')
    .describe('root key to trust where no host key or recovery kit names it')
    .optional(),
})

const encryption = z.union([z.literal('none'), sealing]).describe('sealed backups; none: in clear, on purpose')

export const configSchema = strict({
  $schema: z.string().describe('for editors').optional(),
  clusters: z.record(nameOf('cluster'), clusterSchema).describe('PostgreSQL servers, by name').optional(),
  repositories: z.record(nameOf('repository'), repositorySchema).describe('where backups are kept, by name').optional(),
  timezone: zone().describe('default of clusters').optional(),
  pgBin: text().describe('directory of pg_dump, pg_restore and psql, tried first').optional(),
  encryption: encryption.optional(),
  notify: notify.optional(),
  alerts: alerts.optional(),
  contacts: contacts.optional(),
  logs: logs.optional(),
})

export type ConfigFile = z.infer<typeof configSchema>
export type ClusterConfig = z.infer<typeof clusterSchema>
export type RepositoryConfig = z.infer<typeof repositorySchema>

/** JSON Schema (draft 2020-12) of `tidemark.yaml`, for editors and for the reference. */
export function jsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(configSchema, { io: 'input', reused: 'inline', unrepresentable: 'any' })
  return { title: 'tidemark.yaml', ...schema }
}
