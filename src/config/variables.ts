/**
 * Every environment variable that Tidemark reads: the seeds' own, the usual ones of PostgreSQL and AWS, and ours. The loader,
 * the reference (docs/reference/environment.md) and the tests are made from this one table, so they cannot disagree.
 */
export interface VariableSpec {
  readonly name: string
  /** The seed documents (000–004) that use it; empty for variables of PostgreSQL, AWS, the system, or ours. */
  readonly seeds: readonly string[]
  readonly meaning: string
  /** A value that `rule` accepts. */
  readonly example: string
  /** Path of the setting it fills, `*` for the one cluster. */
  readonly setting: string
  readonly rule: VariableRule
  readonly status: VariableStatus
  /** Where the value wins or loses against others; for the reference. */
  readonly note?: string
}

/** `used`: it acts. `refused`: setting it stops the run. `later`: accepted, checked, and reported as not acting before the area named is built. */
export type VariableStatus = 'used' | 'refused' | { readonly later: string }

/** How the text is read and checked; `rules` in `variable-rules.ts` has one reader for each. */
export type VariableRule =
  | 'text'
  | 'secret'
  | 'url'
  | 'port'
  | 'truth'
  | 'path'
  | 'gzip-level'
  | 'count'
  | 'seconds'
  | 'bucket'
  | 'prefix'
  | 'address'
  | 'zone'
  | 'tls-mode'

const retention = { later: 'retention' } as const
const schedule = { later: 'schedule' } as const
const notify = { later: 'notify' } as const

type Row = readonly [name: string, seeds: string, meaning: string, example: string, setting: string, rule: VariableRule, status?: VariableStatus, note?: string]

const rows: readonly Row[] = [
  [
    'DATABASE_URL',
    '001 002',
    'connection URL of the one cluster',
    'postgresql://app:secret@db.example.com:5432/app?sslmode=require',
    'clusters.*.url',
    'url',
    'used',
    'parameters after ? are kept',
  ],
  ['DB_HOST', '001 002', 'overrides the host of the URL', 'localhost', 'clusters.*.host', 'text'],
  ['DB_PORT', '001 002', 'overrides the port of the URL', '5432', 'clusters.*.port', 'port'],
  ['DB_USER', '001 002', 'overrides the user of the URL', 'postgres', 'clusters.*.user', 'text'],
  ['DB_NAME', '001 002', 'overrides the database of the URL', 'pivotal_flow', 'clusters.*.database', 'text'],
  ['DB_PASS', '001 002', 'overrides the password of the URL', 'secret', 'clusters.*.password', 'secret'],
  ['DB_PASSWORD', '', 'the same as DB_PASS', 'secret', 'clusters.*.password', 'secret', 'used', 'different from DB_PASS: exit 2'],
  ['DATABASE_HOST', '002', 'host, without a URL', 'db.example.com', 'clusters.*.host', 'text', 'used', 'only when DATABASE_URL is empty'],
  ['DATABASE_PORT', '002', 'port, without a URL', '5432', 'clusters.*.port', 'port', 'used', 'only when DATABASE_URL is empty'],
  ['DATABASE_USERNAME', '002', 'user, without a URL', 'app', 'clusters.*.user', 'text', 'used', 'only when DATABASE_URL is empty'],
  ['DATABASE_NAME', '002', 'database, without a URL', 'aicitel', 'clusters.*.database', 'text', 'used', 'only when DATABASE_URL is empty'],
  ['DATABASE_PASSWORD', '', 'password, without a URL', 'secret', 'clusters.*.password', 'secret', 'used', 'only when DATABASE_URL is empty'],
  [
    'POSTGRES_CONTAINER',
    '000',
    'container in which the client programs run',
    'nexo-postgres',
    'clusters.*.container',
    'text',
    'used',
    'where no docker is reachable, the name is the host on the shared network',
  ],
  ['POSTGRES_DB', '000', 'database, without a URL', 'nexo', 'clusters.*.database', 'text', 'used', 'only when DATABASE_URL is empty'],
  ['POSTGRES_USER', '000', 'user, without a URL', 'nexo_user', 'clusters.*.user', 'text', 'used', 'only when DATABASE_URL is empty'],
  ['POSTGRES_PASSWORD', '', 'password, without a URL', 'secret', 'clusters.*.password', 'secret', 'used', 'only when DATABASE_URL is empty'],
  ['POSTGRES_HOST', '', 'host, without a URL', 'db', 'clusters.*.host', 'text', 'used', 'only when DATABASE_URL is empty'],
  ['POSTGRES_PORT', '', 'port, without a URL', '5432', 'clusters.*.port', 'port', 'used', 'only when DATABASE_URL is empty'],
  ['PGHOST', '', 'host or socket directory, if nothing else names one', '/var/run/postgresql', 'clusters.*.host', 'text'],
  ['PGHOSTADDR', '', 'numeric address, spares the look-up of the host', '10.0.0.5', 'clusters.*.parameters.hostaddr', 'text'],
  ['PGPORT', '', 'port, if nothing else names one', '5432', 'clusters.*.port', 'port'],
  ['PGUSER', '', 'user, if nothing else names one', 'app', 'clusters.*.user', 'text'],
  ['PGDATABASE', '', 'database, if nothing else names one', 'app', 'clusters.*.database', 'text'],
  [
    'PGPASSWORD',
    '002',
    'password, if nothing else names one',
    'secret',
    'clusters.*.password',
    'secret',
    'used',
    'passed on to client programs only by a password file',
  ],
  ['PGPASSFILE', '', 'password file, if no password is given', '~/.pgpass', 'clusters.*.passFile', 'path'],
  ['PGSERVICE', '', 'service name in the service file, if neither URL nor host is given', 'billing', 'clusters.*.service', 'text'],
  ['PGSERVICEFILE', '', 'the service file', '~/.pg_service.conf', 'clusters.*.serviceFile', 'path'],
  ['PGSSLMODE', '', 'TLS mode, if the URL names none', 'verify-full', 'clusters.*.tls.mode', 'tls-mode'],
  [
    'PGSSLROOTCERT',
    '',
    'file of trusted certificates',
    '/etc/ssl/db-ca.pem',
    'clusters.*.tls.rootCertFile',
    'text',
    'used',
    'the word "system" is the system\'s own store',
  ],
  ['PGSSLCERT', '', 'client certificate file', '~/.postgresql/postgresql.crt', 'clusters.*.tls.certFile', 'path'],
  ['PGSSLKEY', '', 'client key file', '~/.postgresql/postgresql.key', 'clusters.*.tls.keyFile', 'path'],
  ['PGCONNECT_TIMEOUT', '', 'seconds to wait for a connection', '10', 'clusters.*.connectTimeoutSeconds', 'seconds'],
  ['PGOPTIONS', '', 'command-line options for the server session', '-c search_path=app', 'clusters.*.parameters.options', 'text'],
  ['PGTARGETSESSIONATTRS', '', 'which of several hosts to use', 'read-write', 'clusters.*.parameters.target_session_attrs', 'text'],
  ['PGCHANNELBINDING', '', 'SCRAM channel binding', 'require', 'clusters.*.parameters.channel_binding', 'text'],
  [
    'BACKUP_DIR',
    '000 002 004',
    'directory of the repository "local"',
    './backups/postgres',
    'repositories.local.path',
    'path',
    'used',
    '~ and $HOME are replaced; different from BACKUP_DIRECTORY: exit 2',
  ],
  ['BACKUP_DIRECTORY', '004', 'the same as BACKUP_DIR', '/app/backups', 'repositories.local.path', 'path', 'used', 'different from BACKUP_DIR: exit 2'],
  ['BACKUP_COMPRESSION', '000', 'plain SQL, gzip level 1 to 9', '9', 'clusters.*.dump.compress', 'gzip-level', 'used', 'also sets dump.format to plain'],
  ['BACKUP_ENABLED', '003 004', 'whether backups are scheduled', 'true', 'clusters.*.enabled', 'truth', 'used', 'false: commands by hand still work'],
  [
    'S3_BUCKET_NAME',
    '003',
    'adds the repository "s3"',
    'your-bucket-name',
    'repositories.s3.s3.bucket',
    'bucket',
    'used',
    'with layout tiered; BACKUP_DIR too: both are written',
  ],
  ['S3_REGION', '003', 'region of the bucket', 'us-east-1', 'repositories.s3.s3.region', 'text'],
  ['BACKUP_S3_PREFIX', '003', 'folder in the bucket', 'db-backups', 'repositories.s3.s3.prefix', 'prefix'],
  [
    'AWS_ACCESS_KEY_ID',
    '003',
    'S3 credentials',
    'AKIAEXAMPLE',
    'repositories.*.s3.accessKeyId',
    'secret',
    'used',
    'without: profile, then instance, task or pod role',
  ],
  ['AWS_SECRET_ACCESS_KEY', '003', 'S3 credentials', 'secret', 'repositories.*.s3.secretAccessKey', 'secret'],
  ['AWS_SESSION_TOKEN', '', 'S3 credentials, temporary ones', 'token', 'repositories.*.s3.sessionToken', 'secret'],
  ['AWS_PROFILE', '', 'profile in ~/.aws', 'backups', 'repositories.*.s3.profile', 'text'],
  ['AWS_REGION', '', 'region, if S3_REGION is not set', 'eu-central-1', 'repositories.*.s3.region', 'text'],
  ['AWS_DEFAULT_REGION', '', 'region, if AWS_REGION is not set either', 'eu-central-1', 'repositories.*.s3.region', 'text'],
  ['AWS_ENDPOINT_URL_S3', '', 'address of an S3-compatible store', 'https://minio.example.com:9000', 'repositories.*.s3.endpoint', 'text'],
  ['AWS_CA_BUNDLE', '', 'file of trusted certificates for the store', '/etc/ssl/minio-ca.pem', 'repositories.*.s3.caFile', 'path'],
  ['TZ', '', 'time zone in which days are counted and file names written', 'Europe/Paris', 'clusters.*.timezone', 'zone'],
  [
    'BACKUP_RETENTION_DAYS',
    '000 003',
    'days to keep',
    '7',
    'clusters.*.retention.maxAge',
    'count',
    retention,
    'retention.daily if a class variable is set; never cuts weekly or monthly',
  ],
  ['RETENTION_DAYS', '002', 'days to keep', '30', 'clusters.*.retention.maxAge', 'count', retention],
  ['BACKUP_RETENTION', '004', 'days to keep', '30', 'clusters.*.retention.maxAge', 'count', retention],
  ['DAILY_RETENTION', '000', 'daily backups, in days', '7', 'clusters.*.retention.daily', 'count', retention, 'preset s0'],
  [
    'WEEKLY_RETENTION',
    '000',
    'Sunday backups, in days',
    '30',
    'clusters.*.retention.weekly',
    'count',
    retention,
    'preset s0; with a BACKUP_WEEKLY_ or BACKUP_MONTHLY_RETENTION: exit 2',
  ],
  ['MONTHLY_RETENTION', '000', "backups of a month's first day, in days", '365', 'clusters.*.retention.monthly', 'count', retention, 'preset s0'],
  [
    'BACKUP_WEEKLY_RETENTION',
    '003',
    'weekly backups, in weeks',
    '12',
    'clusters.*.retention.weekly',
    'count',
    retention,
    'with one of DAILY_, WEEKLY_, MONTHLY_RETENTION: exit 2',
  ],
  ['BACKUP_MONTHLY_RETENTION', '003', 'monthly backups, in months', '12', 'clusters.*.retention.monthly', 'count', retention],
  ['BACKUP_INTERVAL', '004', 'hours between backups', '24', 'clusters.*.schedule.interval', 'count', schedule],
  ['BACKUP_NOTIFICATION_EMAIL', '003', 'recipient of all six kinds of mail', 'admin@example.com', 'notify.email.to', 'address', notify],
  ['MAIL_SMTP_SERVER', '003', 'mail server', 'smtp.gmail.com', 'notify.email.smtp.host', 'text', notify],
  ['MAIL_SMTP_PORT', '003', 'its port: 587 STARTTLS, 465 TLS', '587', 'notify.email.smtp.port', 'port', notify],
  ['MAIL_USERNAME', '003', 'mail account', 'backup@example.com', 'notify.email.smtp.user', 'text', notify],
  ['MAIL_PASSWORD', '003', 'its password', 'secret', 'notify.email.smtp.password', 'secret', notify],
  ['MAIL_FROM', '003', 'sender', 'Elegant Tex Backup <backup@example.com>', 'notify.email.from', 'text', notify],
  [
    'BACKUP_FILE',
    '000',
    'for make db-restore-file',
    'backups/nexo_20260119_120000.sql.gz',
    'argument of restore',
    'path',
    'used',
    'read by the Makefile and mise tasks only',
  ],
  ['TIDEMARK_CONFIG', '', 'the configuration file, like --config', '/etc/tidemark/tidemark.yaml', '--config', 'path'],
  ['TIDEMARK_PG_BIN', '', 'directory of pg_dump, pg_restore and psql, tried first', '/usr/lib/postgresql/17/bin', 'pgBin', 'path'],
  ['TIDEMARK_WORK_DIR', '', 'directory for dumps while they are staged; else that for temporary files', '/var/spool/tidemark', 'directories.work', 'path'],
  ['TIDEMARK_CACHE_DIR', '', 'directory for what is fetched once (embedded servers, compiled code)', '/var/cache/tidemark', 'directories.cache', 'path'],
  ['TIDEMARK_CONTAINER_WORK_DIR', '', 'directory in the container for files on their way; else /tmp', '/var/spool', 'directories.containerWork', 'path'],
  ['NO_COLOR', '', 'any value: no colours', '1', 'output', 'text'],
  ['TIDEMARK_HOST_KEY', '', 'key file of this host; backups must be sealed', '/etc/tidemark/host.key', 'encryption.hostKey', 'path'],
  ['TIDEMARK_IDENTITY', '', 'file of keys that open what is sealed, like --identity', '~/age-identity.txt', 'encryption.identities', 'path'],
  [
    'TIDEMARK_RECIPIENTS',
    '',
    'who else reads everything',
    'age1example',
    'encryption.recipients',
    'text',
    'used',
    'separated by commas; members since key init or key add',
  ],
  ['TIDEMARK_ENCRYPTION', '', 'backups must be sealed, or not', 'true', 'encryption', 'text', 'used', 'false, no, off, 0, none: in clear, on purpose'],
  ['BACKUP_ENCRYPTION', '', 'the same as TIDEMARK_ENCRYPTION', 'true', 'encryption', 'text', 'used', 'different from TIDEMARK_ENCRYPTION: exit 2'],
  ['BACKUP_ENCRYPTION_KEY', '', 'asks for another kind of encryption', 'secret', 'encryption', 'secret', 'refused', 'also when it is set and empty'],
  ['BACKUP_PASSPHRASE', '', 'asks for another kind of encryption', 'secret', 'encryption', 'secret', 'refused', 'also when it is set and empty'],
  ['BACKUP_GPG_RECIPIENT', '', 'asks for another kind of encryption', 'ops@example.com', 'encryption', 'text', 'refused', 'also when it is set and empty'],
  [
    'TIDEMARK_PASSPHRASE',
    '',
    'refused: others could read it; write --passphrase-file FILE',
    'secret',
    'encryption',
    'secret',
    'refused',
    'also when it is set and empty',
  ],
]

export const variables: readonly VariableSpec[] = rows.map(([name, seeds, meaning, example, setting, rule, status, note]) => ({
  name,
  seeds: seeds === '' ? [] : seeds.split(' '),
  meaning,
  example,
  setting,
  rule,
  status: status ?? 'used',
  ...(note === undefined ? {} : { note }),
}))

const byName: ReadonlyMap<string, VariableSpec> = new Map(variables.map((spec) => [spec.name, spec]))

export function variableNamed(name: string): VariableSpec | undefined {
  return byName.get(name)
}

/** The area in which a `later` variable will act, or null when it acts (or refuses) today. */
export function laterArea(spec: VariableSpec): string | null {
  return typeof spec.status === 'object' ? spec.status.later : null
}
