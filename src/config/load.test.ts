import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Settings } from './settings.ts'
import { testRoom } from '../../test/support/config-room.ts'

const only = (settings: Settings) => {
  const [cluster, ...others] = Object.values(settings.clusters)
  if (cluster === undefined || others.length > 0) throw new Error(`expected one cluster, found ${Object.keys(settings.clusters).join(', ')}`)
  return cluster
}

/** Each seed's own configuration, word for word from its document. */
const seed000 = `export BACKUP_DIR="./backups/postgres"        # Backup directory
export POSTGRES_CONTAINER="nexo-postgres"     # Container name
export POSTGRES_DB="nexo"                     # Database name
export POSTGRES_USER="nexo_user"              # Database user
export BACKUP_RETENTION_DAYS="7"              # Days to keep backups
export BACKUP_COMPRESSION="9"                 # Compression level (1-9)
`
const seed000Custom = `# .env
DAILY_RETENTION=14        # Keep 2 weeks of daily backups
WEEKLY_RETENTION=60       # Keep 2 months of weekly backups
MONTHLY_RETENTION=730     # Keep 2 years of monthly backups
`
const seed001 = `# Required in .env file
DATABASE_URL=postgresql://username:password@host:port/database

# Optional overrides
DB_HOST=localhost
DB_PORT=5432
DB_USER=postgres
DB_NAME=pivotal_flow
`.replace(':port', ':5433')
const seed002 = `DATABASE_HOST=db.example.com
DATABASE_PORT=6432
DATABASE_USERNAME=aicitel
DATABASE_NAME=aicitel
BACKUP_DIR="$HOME/aicitel-backups"
RETENTION_DAYS=30
`
const seed003 = `# Database Backup Configuration
BACKUP_ENABLED=true
BACKUP_S3_PREFIX=db-backups
BACKUP_RETENTION_DAYS=30
BACKUP_WEEKLY_RETENTION=12
BACKUP_MONTHLY_RETENTION=12
BACKUP_NOTIFICATION_EMAIL=admin@yourdomain.com

# Email SMTP Configuration (for backup notifications)
MAIL_SMTP_SERVER=smtp.gmail.com
MAIL_SMTP_PORT=587
AWS_ACCESS_KEY_ID=your-access-key
AWS_SECRET_ACCESS_KEY=your-secret-key
S3_BUCKET_NAME=your-bucket-name
S3_REGION=us-east-1
MAIL_USERNAME=your-email@gmail.com
MAIL_PASSWORD=your-app-password
MAIL_FROM=Elegant Tex Backup <your-email@gmail.com>
`
const seed004 = `# Backup configuration
BACKUP_ENABLED=true
BACKUP_INTERVAL=24          # Hours between backups
BACKUP_RETENTION=30         # Days to retain backups
BACKUP_DIRECTORY=/app/backups
`

const carried = (settings: Settings) =>
  Object.fromEntries(
    settings.notActing.map(({ setting, value }) => [setting, value !== null && typeof value === 'object' ? JSON.parse(JSON.stringify(value)) : value]),
  )

describe("the seeds' .env files", () => {
  it('000: container, database and user alone are a cluster, with plain SQL and gzip', async () => {
    await using room = await testRoom({ '.env': seed000 })
    const settings = await room.load()
    const cluster = only(settings)
    expect(cluster.name).toBe('nexo')
    expect(cluster.target).toMatchObject({
      host: null,
      port: 5432,
      user: 'nexo_user',
      database: 'nexo',
      password: null,
      container: { kind: 'container', name: 'nexo-postgres' },
    })
    expect(cluster.dump).toMatchObject({ format: 'plain', compression: { method: 'gzip', level: 9 }, nameTemplate: '<db>_<YYYYMMDD_HHMMSS>' })
    expect(settings.repositories['local']).toEqual({
      name: 'local',
      layout: 'flat',
      bandwidth: null,
      isClear: false,
      storage: { kind: 'posix', path: join(room.directory, 'backups/postgres'), dirMode: 0o700, fileMode: 0o600, owner: null, group: null },
    })
    expect(carried(settings)).toEqual({ 'clusters.nexo.retention.maxAge': '7d' })
    expect(settings.ignored).toEqual([])
    expect(settings.origins['clusters.nexo.dump.compress']).toBe('BACKUP_COMPRESSION (.env)')
    expect(settings.envFile).toBe(join(room.directory, '.env'))
    expect(settings.configFile).toBeNull()
  })

  it('000: with class variables, age is only a reserve and the classes count days', async () => {
    await using room = await testRoom({ '.env': seed000 + seed000Custom })
    const settings = await room.load()
    expect(carried(settings)).toEqual({
      'clusters.nexo.retention.daily': '14d',
      'clusters.nexo.retention.weekly': '60d',
      'clusters.nexo.retention.monthly': '730d',
    })
    expect(settings.ignored).toEqual([{ variable: 'BACKUP_RETENTION_DAYS', reason: expect.stringContaining('DAILY_RETENTION') }])
  })

  it('001: DB_* override the same parts of the URL, which is echoed', async () => {
    await using room = await testRoom({ '.env': seed001 })
    const settings = await room.load()
    const { target, name } = only(settings)
    expect(name).toBe('pivotal_flow')
    expect(target).toMatchObject({ host: 'localhost', port: 5432, user: 'postgres', database: 'pivotal_flow' })
    expect(target.password?.reveal()).toBe('password')
    expect(settings.notes).toHaveLength(4)
    expect(settings.notes[1]).toBe('DB_PORT (.env) overrides the port of DATABASE_URL (.env)')
    expect(settings.origins['clusters.pivotal_flow.url']).toBe('DATABASE_URL (.env)')
    expect(settings.origins['clusters.pivotal_flow.host']).toBe('DB_HOST (.env)')
    expect(settings.repositories['local']?.storage).toMatchObject({ path: join(room.directory, 'backups') })
  })

  it('002: DATABASE_* count without a URL and only then', async () => {
    await using room = await testRoom({ '.env': seed002 })
    const settings = await room.load({ PGPASSWORD: 'p' })
    expect(only(settings).target).toMatchObject({ host: 'db.example.com', port: 6432, user: 'aicitel', database: 'aicitel' })
    expect(only(settings).target.password?.reveal()).toBe('p')
    expect(settings.repositories['local']?.storage).toMatchObject({ path: '/home/ada/aicitel-backups' })

    const withUrl = await room.load({ DATABASE_URL: 'postgres://u@elsewhere/app?options=-c%20a%3Db' })
    expect(only(withUrl).target).toMatchObject({ host: 'elsewhere', port: 5432, user: 'u', database: 'app', parameters: { options: '-c a=b' } })
    expect(withUrl.ignored.map(({ variable }) => variable)).toEqual(['DATABASE_HOST', 'DATABASE_PORT', 'DATABASE_USERNAME', 'DATABASE_NAME'])
  })

  it('003: a bucket becomes the tiered repository "s3", and no local one is invented', async () => {
    await using room = await testRoom({ '.env': seed003 })
    const settings = await room.load({ DATABASE_URL: 'postgres://u:p@db/eleganttex' })
    expect(Object.keys(settings.repositories)).toEqual(['s3'])
    expect(only(settings).repositories).toEqual(['s3'])
    expect(settings.repositories['s3']).toMatchObject({
      layout: 'tiered',
      storage: { kind: 's3', bucket: 'your-bucket-name', prefix: 'db-backups', region: 'us-east-1', endpoint: null, forcePathStyle: false, profile: null },
    })
    const { storage } = settings.repositories['s3'] ?? {}
    expect(storage?.kind === 's3' && storage.secretAccessKey?.reveal()).toBe('your-secret-key')
    expect(carried(settings)).toEqual({
      'clusters.eleganttex.retention.daily': '30d',
      'clusters.eleganttex.retention.weekly': '12w',
      'clusters.eleganttex.retention.monthly': '12m',
      'notify.email.to': 'admin@yourdomain.com',
      'notify.email.smtp.host': 'smtp.gmail.com',
      'notify.email.smtp.port': '587',
      'notify.email.smtp.user': 'your-email@gmail.com',
      'notify.email.smtp.password': '[secret]',
      'notify.email.from': 'Elegant Tex Backup <your-email@gmail.com>',
    })
    expect(settings.ignored).toEqual([])
  })

  it('003 with BACKUP_DIR: both repositories are written', async () => {
    await using room = await testRoom({ '.env': `${seed003}BACKUP_DIR=./b\n` })
    const settings = await room.load({ DATABASE_URL: 'postgres://u:p@db/eleganttex' })
    expect(only(settings).repositories).toEqual(['local', 's3'])
  })

  it('004: directory by its other name, interval in hours, and one age', async () => {
    await using room = await testRoom({ '.env': seed004 })
    const settings = await room.load({ DATABASE_URL: 'postgres://u:p@db/tenant_manager' })
    expect(settings.repositories['local']?.storage).toMatchObject({ path: '/app/backups' })
    expect(carried(settings)).toEqual({ 'clusters.tenant_manager.retention.maxAge': '30d', 'clusters.tenant_manager.schedule.interval': '24h' })
    expect(settings.notActing.map(({ area }) => area)).toEqual(['retention', 'schedule'])
  })

  it('004 alone names no server: no cluster, no guess, and the variables are explained', async () => {
    await using room = await testRoom({ '.env': seed004 })
    const settings = await room.load()
    expect(Object.keys(settings.clusters)).toEqual([])
    expect(settings.ignored.map(({ variable }) => variable)).toEqual(expect.arrayContaining(['BACKUP_RETENTION', 'BACKUP_INTERVAL']))
  })
})

describe('precedence', () => {
  it('flag beats process environment beats .env beats default', async () => {
    await using room = await testRoom({
      '.env': 'DATABASE_URL=postgres://u@dotenv/app\nBACKUP_DIR=./dotenv\n',
      'other.env': 'DATABASE_URL=postgres://u@other/app\n',
    })
    expect(only(await room.load()).target.host).toBe('dotenv')
    expect(only(await room.load({}, { envFile: 'other.env' })).target.host).toBe('other')
    const process = await room.load({ DATABASE_URL: 'postgres://u@process/app' })
    expect(only(process).target.host).toBe('process')
    expect(process.origins['clusters.app.url']).toBe('DATABASE_URL (environment)')
    const flag = await room.load(
      { DATABASE_URL: 'postgres://u@process/app', DB_HOST: 'override' },
      { databaseUrl: 'postgres://u@flag/app', repositories: ['./flag'] },
    )
    expect(only(flag).target.host).toBe('flag')
    expect(flag.ignored.map(({ variable }) => variable)).toEqual(['DATABASE_URL', 'DB_HOST'])
    expect(flag.repositories['local']?.storage).toMatchObject({ path: join(room.directory, 'flag') })
    expect(flag.origins['repositories.local.path']).toBe('--repo')
  })

  it('an empty variable counts as not set, also when it would hide the one in .env', async () => {
    await using room = await testRoom({ '.env': 'DATABASE_URL=postgres://u@dotenv/app\n' })
    expect(only(await room.load({ DATABASE_URL: '', DB_HOST: '' })).target.host).toBe('dotenv')
  })

  it('an --env-file that does not exist is an error, a missing .env is none', async () => {
    await using room = await testRoom()
    expect((await room.failure({}, { envFile: 'nope.env' })).message).toContain('nope.env')
    expect(Object.keys((await room.load()).clusters)).toEqual([])
  })

  it("libpq's variables fill what nothing else names, and only that", async () => {
    await using room = await testRoom()
    const env = {
      PGHOST: 'pg',
      PGPORT: '5555',
      PGUSER: 'pu',
      PGDATABASE: 'pd',
      PGPASSWORD: 'pp',
      PGSSLMODE: 'require',
      PGCONNECT_TIMEOUT: '3',
      PGPASSFILE: '~/.pgpass',
    }
    const alone = only(await room.load(env))
    expect(alone.target).toMatchObject({
      host: 'pg',
      port: 5555,
      user: 'pu',
      database: 'pd',
      tls: { mode: 'require' },
      connectTimeoutSeconds: 3,
      passFile: null,
    })
    const url = await room.load({ ...env, DATABASE_URL: 'postgres://u@h:5432/d?sslmode=verify-full' })
    expect(only(url).target).toMatchObject({ host: 'h', port: 5432, user: 'u', database: 'd', tls: { mode: 'verify-full' } })
    expect(only(url).target.password?.reveal()).toBe('pp')
    const sparse = await room.load({ ...env, PGPASSWORD: '', DATABASE_URL: 'postgres://h' })
    expect(only(sparse).target).toMatchObject({ host: 'h', port: 5555, user: 'pu', database: 'pd', passFile: '/home/ada/.pgpass' })
  })

  it('a database called like its user is still a choice that PGDATABASE does not replace', async () => {
    await using room = await testRoom()
    expect(only(await room.load({ DATABASE_URL: 'postgres://app@h/app', PGDATABASE: 'other' })).target.database).toBe('app')
    expect(only(await room.load({ DATABASE_URL: 'postgres://app@h', PGDATABASE: 'other' })).target.database).toBe('other')
  })

  it('PGSERVICE stands for a URL, read from the service file', async () => {
    await using room = await testRoom({ 'services.conf': '[billing]\nhost=svc\nport=5432\ndbname=bill\nuser=bu\n' })
    const env = { PGSERVICE: 'billing', PGSERVICEFILE: './services.conf', PGHOST: 'not-this', PGPORT: '1' }
    expect(only(await room.load(env)).target).toMatchObject({ host: 'svc', port: 5432, user: 'bu', database: 'bill' })
    expect((await room.failure({ ...env, PGSERVICE: 'nope' })).message).toContain('PGSERVICE (environment)')
    const nearer = await room.load({ ...env, DB_NAME: 'mine', DB_HOST: 'near' })
    expect(only(nearer).target).toMatchObject({ host: 'near', database: 'mine' })
  })

  it('uses the account we run under where no user is named, as libpq does', async () => {
    await using room = await testRoom()
    expect(only(await room.load({ DATABASE_URL: 'postgres://h/d' })).target.user).toBe('ada')
    expect(only(await room.load({ POSTGRES_CONTAINER: 'c' })).target).toMatchObject({ user: 'postgres', database: 'postgres' })
  })
})

describe('contradictions end in exit 2 and name both variables', () => {
  it.each([
    [{ BACKUP_DIR: './a', BACKUP_DIRECTORY: './b' }, ['BACKUP_DIR', 'BACKUP_DIRECTORY']],
    [{ DB_PASS: 'hunter2', DB_PASSWORD: 'hunter3', DATABASE_URL: 'postgres://u@h/d' }, ['DB_PASS', 'DB_PASSWORD']],
    [{ DB_HOST: 'a', DATABASE_HOST: 'b' }, ['DB_HOST', 'DATABASE_HOST']],
    [{ DATABASE_NAME: 'a', POSTGRES_DB: 'b' }, ['DATABASE_NAME', 'POSTGRES_DB']],
    [{ POSTGRES_DB: 'b', WEEKLY_RETENTION: '30', BACKUP_WEEKLY_RETENTION: '12' }, ['WEEKLY_RETENTION', 'BACKUP_WEEKLY_RETENTION']],
    [{ POSTGRES_DB: 'b', DAILY_RETENTION: '30', BACKUP_MONTHLY_RETENTION: '12' }, ['DAILY_RETENTION', 'BACKUP_MONTHLY_RETENTION']],
    [{ POSTGRES_DB: 'b', RETENTION_DAYS: '30', BACKUP_RETENTION: '31' }, ['RETENTION_DAYS', 'BACKUP_RETENTION']],
  ])('%j', async (env, names) => {
    await using room = await testRoom()
    const failure = await room.failure(env)
    expect(failure.code).toBe('config-contradiction')
    expect(failure.exitCode).toBe(2)
    for (const name of names) expect(failure.message).toContain(`${name} (environment)`)
    expect(failure.message).not.toContain('hunter')
  })

  it.each([[{ BACKUP_DIR: './a', BACKUP_DIRECTORY: '$HOME/../../a/../$' }], [{ BACKUP_DIR: '${BASE}/x' }], [{ BACKUP_DIR: '~bob/x' }]])(
    'a directory that nobody meant is not made: %j',
    async (env) => {
      await using room = await testRoom()
      expect((await room.failure(env)).exitCode).toBe(2)
    },
  )

  it.each([
    [{ BACKUP_DIR: './a', BACKUP_DIRECTORY: 'a/' }],
    [{ DATABASE_URL: 'postgres://u:p@a:1/d', DB_HOST: 'b', DB_PASS: 'q' }],
    [{ DB_PORT: '5432', DATABASE_PORT: '05432', DB_NAME: 'd' }],
    [{ POSTGRES_DB: 'b', RETENTION_DAYS: '30', BACKUP_RETENTION: '30' }],
  ])('is no contradiction: %j', async (env) => {
    await using room = await testRoom()
    await room.load(env)
  })
})

describe('values that cannot be used end in exit 2 and name the variable, never the value', () => {
  it.each([
    ['BACKUP_COMPRESSION', '0'],
    ['BACKUP_COMPRESSION', '10'],
    ['BACKUP_COMPRESSION', 'best'],
    ['BACKUP_COMPRESSION', '9.5'],
    ['BACKUP_ENABLED', 'maybe'],
    ['DB_PORT', '0'],
    ['DB_PORT', '65536'],
    ['DB_PORT', '54e2'],
    ['BACKUP_RETENTION_DAYS', '-1'],
    ['BACKUP_RETENTION_DAYS', '0'],
    ['BACKUP_INTERVAL', 'daily'],
    ['MAIL_SMTP_PORT', 'smtp'],
    ['BACKUP_NOTIFICATION_EMAIL', 'admin'],
    ['S3_BUCKET_NAME', 'a/b'],
    ['PGSSLMODE', 'on'],
    ['AWS_ACCESS_KEY_ID', 'alone'],
    ['AWS_ENDPOINT_URL_S3', 'http://user:pw@minio'],
  ])('%s=%s', async (name, value) => {
    await using room = await testRoom()
    const failure = await room.failure({ POSTGRES_DB: 'nexo', S3_BUCKET_NAME: 'bucket', [name]: value })
    expect(failure.exitCode).toBe(2)
    expect(failure.message).toContain(name)
    if (value.length > 2) expect(failure.message + failure.hints.join()).not.toContain(value)
  })

  it('accepts every spelling of a truth', async () => {
    await using room = await testRoom()
    for (const [text, enabled] of Object.entries({ true: true, YES: true, on: true, 1: true, false: false, No: false, off: false, 0: false })) {
      expect(only(await room.load({ POSTGRES_DB: 'nexo', BACKUP_ENABLED: text })).enabled).toBe(enabled)
    }
  })

  it('a TZ in POSIX form stops nothing, but is named', async () => {
    await using room = await testRoom()
    const settings = await room.load({ POSTGRES_DB: 'nexo', TZ: 'CET-1CEST,M3.5.0' })
    expect(only(settings).timeZone).toBe('Europe/Paris')
    expect(settings.ignored[0]?.variable).toBe('TZ')
    expect(only(await room.load({ POSTGRES_DB: 'nexo', TZ: 'america/new_york' })).timeZone).toBe('America/New_York')
  })

  it('names a misspelt variable of ours and the likely one', async () => {
    await using room = await testRoom()
    expect((await room.load({ BACKUP_COMPRESION: '9' })).ignored).toEqual([
      { variable: 'BACKUP_COMPRESION', reason: expect.stringContaining('BACKUP_COMPRESSION') },
    ])
  })
})

describe('--repo', () => {
  it('tells names from places and writes only to those named', async () => {
    await using room = await testRoom({
      'tidemark.yaml': 'clusters: { a: { url: postgres://u@h/a } }\nrepositories: { local: { path: ./x }, off: { path: ./y } }\n',
    })
    expect(only(await room.load({}, { repositories: ['off'] })).repositories).toEqual(['off'])
    const places = await room.load({}, { repositories: ['./z', 's3://bucket/some/prefix/', '/abs'] })
    expect(only(places).repositories).toEqual(['local-2', 's3', 'local-3'])
    expect(places.repositories['s3']?.storage).toMatchObject({ kind: 's3', bucket: 'bucket', prefix: 'some/prefix' })
    expect(Object.keys(places.repositories)).toEqual(['local', 'off', 'local-2', 's3', 'local-3'])
    await using listed = await testRoom({
      'tidemark.yaml': 'clusters: { a: { url: postgres://u@h/a, repositories: [local] } }\nrepositories: { local: { path: ./x }, off: { path: ./y } }\n',
    })
    expect(only(await listed.load({}, { repositories: ['off'] })).repositories).toEqual(['off'])
    expect(only(await listed.load({})).repositories).toEqual(['local'])
    expect((await room.failure({}, { repositories: ['nope'] })).message).toContain('no repository is called "nope"')
    expect((await room.failure({}, { repositories: ['gs://bucket'] })).exitCode).toBe(2)
  })
})
