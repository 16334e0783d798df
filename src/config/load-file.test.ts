import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isFailure } from '../kernel/failure.ts'
import { checkSettings, describeSettings } from './describe.ts'
import { testRoom } from '../../test/support/config-room.ts'
import { parseConfigFile } from './yaml-file.ts'

/** The example of cli.md. */
const documented = `clusters:
  nexo:
    url: env:DATABASE_URL
    container: nexo-postgres          # optional: run client tools in this container
    dump: { databases: [nexo], format: custom, compress: zstd:3 }
    base: { enabled: true, wal: stream }
    schedule: { dump: "0 2 * * *", incr: "0 * * * *", expire: "0 3 * * 0", drill: "0 3 1 * *", health: "0 * * * *" }
    retention: { daily: 7d, weekly: 30d, monthly: 365d, keepLast: 3 }
    goals: { rpo: 5m, rto: 1h }
    checks: [ { sql: "select count(*) > 0 from users", expect: true } ]
repositories:
  local: { path: ./backups }
  offsite: { s3: { bucket: nexo-backups, region: us-east-1, prefix: db-backups }, retention: { daily: 30d, weekly: 12w, monthly: 12m } }
notify:
  - email: { to: admin@example.com, on: [failure, recovered, weekly] }
  - webhook: { url: env:SLACK_URL, format: slack, on: [failure] }
encryption: { recipients: [age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef] }
`
/** Keys beyond those of the command line's contract. */
const further = `clusters:
  main:
    url: postgres://backup@db/main?sslmode=verify-full
    adminUrl: env:ADMIN_URL
    compose: { service: postgres, files: [docker-compose.yml], project: tenant }
    ssh: { host: bastion, user: me, key: ~/.ssh/id, knownHosts: ~/.ssh/known_hosts }
    enabled: yes
    timezone: Europe/Berlin
    repositories: [nas]
    dump: { format: directory, jobs: 8, name: s4, globals: no, lockWait: 2m }
    drill: { server: env:DRILL_URL, newest: [ { table: users, by: created_at, rows: 3, mask: [email] } ] }
    checks: [ { sql: select 1, expect: 1 }, { command: [node, check.js] }, { url: "http://localhost/health" } ]
    hooks: { beforeRestore: [docker, compose, stop, app], afterRestore: [docker, compose, start, app], onFailure: [notify] }
    schedule: { drill: first monday 09:00, dump: "@daily", interval: 24h }
    retention: { hourly: 24h, yearly: 3y, maxAge: 30d, pitr: 7d, recoveryTests: 3m, preset: s0 }
    goals: { rpo: 1h, rto: { application: 30m, database: 1h, system: 2h } }
    alerts: { maxAge: 36h, repositorySize: 10GB, sizeChange: 50%, diskFree: 10%, logSize: 100MB, duration: 1h }
    files: { config: { paths: [docker-compose.yml, .env] }, vol: { dockerVolume: data } }
    window: "22:00-06:00"
    nice: 10
    allowedRegions: [eu-central-1]
    contacts: [ { name: Ada, phone: "1" }, Bob ]
repositories:
  nas: { path: /mnt/nas, owner: backup, group: backup, dirMode: 0750, fileMode: "0640", layout: dated, bandwidth: 10MB/s, take: weekly, region: fr, legalMinAge: 1y, legalMaxAge: 10y }
timezone: UTC
pgBin: /usr/lib/postgresql/17/bin
logs: { dir: /backup/logs, maxSize: 10MB, keep: 5 }
contacts: [ Ada ]
alerts: { maxAge: 1d }
`

describe('tidemark.yaml', () => {
  it('takes the documented example and says which parts do not act', async () => {
    await using room = await testRoom({ 'tidemark.yaml': documented })
    const settings = await room.load({ DATABASE_URL: 'postgres://u:p@h/nexo' })
    const nexo = settings.clusters['nexo']
    expect(nexo?.target).toMatchObject({ host: 'h', database: 'nexo', container: { kind: 'container', name: 'nexo-postgres' } })
    expect(nexo?.dump).toMatchObject({ databases: ['nexo'], format: 'custom', compression: { method: 'zstd', level: 3 } })
    expect(nexo?.checks).toEqual([{ sql: 'select count(*) > 0 from users', expect: true }])
    expect(nexo?.repositories).toEqual(['local', 'offsite'])
    expect(settings.configFile).toBe(join(room.directory, 'tidemark.yaml'))
    expect(settings.repositories['local']?.storage).toMatchObject({ path: join(room.directory, 'backups') })
    expect(settings.notActing.map(({ setting, area, origin }) => `${setting} ${area} ${origin}`)).toEqual([
      'clusters.nexo.base.wal base.wal tidemark.yaml:6',
      'clusters.nexo.schedule schedule tidemark.yaml:7',
      'clusters.nexo.retention retention tidemark.yaml:8',
      'clusters.nexo.goals goals tidemark.yaml:9',
      'repositories.offsite.retention retention tidemark.yaml:13',
      'notify notify tidemark.yaml:14',
    ])
    expect([settings.encryption.wanted, settings.origins['encryption.recipients']]).toEqual(['sealed', 'tidemark.yaml:17'])
    expect(settings.origins['clusters.nexo.url']).toBe('DATABASE_URL (environment)')
    expect(settings.origins['clusters.nexo.dump.format']).toBe('tidemark.yaml:5')
    expect(settings.ignored).toEqual([])
  })

  it('takes every further key of the specification', async () => {
    await using room = await testRoom({ 'tidemark.yaml': further })
    const settings = await room.load({ ADMIN_URL: 'postgres://admin:a@db/postgres', DRILL_URL: 'postgres://d@scratch/x' })
    const main = settings.clusters['main']
    expect(main?.target.container).toEqual({ kind: 'compose', service: 'postgres', files: [join(room.directory, 'docker-compose.yml')], project: 'tenant' })
    expect(main?.adminTarget).toMatchObject({ user: 'admin', container: { kind: 'compose' } })
    expect(main).toMatchObject({ enabled: true, timeZone: 'Europe/Berlin', lockWaitSeconds: 120, hooks: { onFailure: ['notify'] } })
    expect(main?.dump).toMatchObject({ format: 'directory', jobs: 8, globals: false, nameTemplate: 'postgres-dump-<YYYYMMDD-HHMMSS>' })
    expect(main?.drill).toMatchObject({ server: { host: 'scratch' }, newest: [{ table: 'users', by: 'created_at', rows: 3, mask: ['email'] }] })
    expect(main?.checks).toEqual([{ sql: 'select 1', expect: 1 }])
    expect(settings.repositories['nas']).toMatchObject({
      layout: 'dated',
      bandwidth: 10 * 2 ** 20,
      storage: { path: '/mnt/nas', dirMode: 0o750, fileMode: 0o640, owner: 'backup', group: 'backup' },
    })
    expect(settings.pgBin).toBe('/usr/lib/postgresql/17/bin')
    const areas = settings.notActing.map(({ setting }) => setting)
    for (const setting of [
      'clusters.main.checks[1]',
      'clusters.main.checks[2]',
      'clusters.main.ssh',
      'clusters.main.window',
      'repositories.nas.take',
      'logs',
      'contacts',
      'alerts',
    ])
      expect(areas).toContain(setting)
    expect(areas).not.toContain('clusters.main.checks[0]')
    expect(settings.warnings.join()).toContain('makes no tunnel')
  })

  it('comes before seed variables, which fill only what it leaves out and are named otherwise', async () => {
    await using room = await testRoom({
      'tidemark.yaml':
        'clusters: { nexo: { url: postgres://u@h/nexo, dump: { compress: zstd:5 }, retention: { daily: 3d } } }\nrepositories: { local: { path: ./b } }\n',
    })
    const env = {
      DATABASE_URL: 'postgres://x@y/z',
      DB_HOST: 'other',
      DB_PASS: 'filled',
      POSTGRES_CONTAINER: 'c',
      BACKUP_COMPRESSION: '9',
      BACKUP_DIR: './elsewhere',
      DAILY_RETENTION: '9',
      BACKUP_ENABLED: 'false',
      BACKUP_INTERVAL: '12',
    }
    const settings = await room.load(env)
    const nexo = settings.clusters['nexo']
    expect(nexo?.target).toMatchObject({ host: 'h', user: 'u', database: 'nexo', container: { name: 'c' } })
    expect(nexo?.target.password?.reveal()).toBe('filled')
    expect(nexo?.dump).toMatchObject({ format: 'custom', compression: { method: 'zstd', level: 5 } })
    expect(nexo?.enabled).toBe(false)
    expect(settings.ignored.map(({ variable }) => variable).toSorted()).toEqual([
      'BACKUP_COMPRESSION',
      'BACKUP_DIR',
      'DAILY_RETENTION',
      'DATABASE_URL',
      'DB_HOST',
    ])
    for (const { reason } of settings.ignored.filter(({ variable }) => variable !== 'BACKUP_DIR')) expect(reason).toMatch(/tidemark\.yaml:1/)
    expect(settings.notActing.map(({ setting }) => setting)).toEqual(['clusters.nexo.retention', 'clusters.nexo.schedule.interval'])
  })

  it('with several clusters, no variable can mean one of them', async () => {
    await using room = await testRoom({ 'tidemark.yaml': 'clusters: { a: { url: postgres://u@h/a }, b: { host: i, database: b, password: env:DB_PASS } }\n' })
    const settings = await room.load({ DB_PASS: 'p', DB_NAME: 'n', PGPASSWORD: 'never-sent-to-both', PGSSLMODE: 'require', BACKUP_RETENTION: '30' })
    expect(settings.clusters['a']?.target).toMatchObject({ database: 'a', password: null, tls: { mode: 'require' } })
    expect(settings.clusters['b']?.target).toMatchObject({ database: 'b', user: 'ada', tls: { mode: 'require' } })
    expect(settings.clusters['b']?.target.password?.reveal()).toBe('p')
    expect(settings.ignored.map(({ variable }) => variable).toSorted()).toEqual(['BACKUP_RETENTION', 'DB_NAME', 'PGPASSWORD'])
    expect((await room.failure({}, { databaseUrl: 'postgres://x@y/z' })).message).toContain('could mean any of them')
  })

  it('a cluster that neither file nor environment locates is an error at its line', async () => {
    await using room = await testRoom({ 'tidemark.yaml': 'clusters:\n  a: { dump: { format: plain } }\n' })
    expect((await room.failure()).message).toContain('tidemark.yaml:2')
    expect((await room.load({ DATABASE_URL: 'postgres://u@h/d' })).clusters['a']?.target.host).toBe('h')
  })

  it('is found by flag, by variable, in the working directory, then under /etc', async () => {
    await using room = await testRoom({
      'etc/tidemark.yaml': 'clusters: { etc: { url: postgres://u@h/d } }\n',
      'other.yaml': 'clusters: { other: { url: postgres://u@h/d } }\n',
    })
    expect(Object.keys((await room.load()).clusters)).toEqual(['etc'])
    expect(Object.keys((await room.load({ TIDEMARK_CONFIG: 'other.yaml' })).clusters)).toEqual(['other'])
    await writeFile(join(room.directory, 'tidemark.yaml'), 'clusters: { here: { url: postgres://u@h/d } }\n')
    expect(Object.keys((await room.load()).clusters)).toEqual(['here'])
    expect(Object.keys((await room.load({ TIDEMARK_CONFIG: 'other.yaml' }, { config: join(room.directory, 'etc/tidemark.yaml') })).clusters)).toEqual(['etc'])
    expect((await room.failure({}, { config: 'nope.yaml' })).message).toContain('nope.yaml (--config)')
    expect((await room.failure({ TIDEMARK_CONFIG: 'nope.yaml' })).exitCode).toBe(2)
  })

  it.each([
    ['clusters:\n  nexo:\n    dump:\n      comprss: zstd:3\n', 'tidemark.yaml:4:7 clusters.nexo.dump.comprss: unknown key "comprss": did you mean "compress"?'],
    ['clustres: {}\n', 'tidemark.yaml:1:1 clustres: unknown key "clustres": did you mean "clusters"?'],
    ['clusters:\n  nexo: { dump: { format: csutom } }\n', 'tidemark.yaml:2:19 clusters.nexo.dump.format: expected one of custom, plain, directory'],
    ['clusters:\n  nexo: { dump: { compress: gzip:10 } }\n', 'gzip has the levels 1 to 9'],
    ['clusters:\n  nexo: { port: 70000 }\n', 'expected a port from 1 to 65535'],
    ['clusters:\n  nexo: { retention: { daily: 7 } }\n', 'expected text, found a number (put it into quotes)'],
    ['clusters:\n  nexo: { retention: { dialy: 7d } }\n', 'did you mean "daily"?'],
    ['clusters:\n  nexo: { schedule: { dump: "0 25 * * *" } }\n', 'the schedule\'s field "hour" is not understood'],
    ['clusters:\n  nexo: { hooks: { beforeRestore: docker stop } }\n', 'there is no shell'],
    [
      'clusters:\n  nexo: { checks: [ { comand: [x] } ] }\n',
      'tidemark.yaml:2:23 clusters.nexo.checks[0].comand: unknown key "comand": did you mean "command"?',
    ],
    ['repositories:\n  x: { path: a, s3: { bucket: abc } }\n', 'tidemark.yaml:2:3 repositories.x: expected either path or s3, not both'],
    ['repositories:\n  x: {}\n', 'expected path or s3'],
    ['repositories:\n  x: { gcs: { bucket: abc } }\n', 'not available in this version'],
    ['repositories:\n  x: { path: a, dirMode: 0888 }\n', 'expected permissions in octal'],
    ['notify:\n  - { slack: x }\n', 'tidemark.yaml:2:7 notify[0].slack'],
    ['a: b: c\n', 'tidemark.yaml:1:4'],
    ['timezone: UTC\ntimezone: UTC\n', 'tidemark.yaml:2:1: this key stands twice'],
    ['\ttimezone: UTC\n', 'tabs cannot indent'],
    ['- x\n', 'expected a block of keys'],
    ['{ a: 1 }: x\n', 'a key must be text'],
    ['clusters: { "a/../b": { url: x } }\n', 'expected a cluster name'],
    ['clusters: { __proto__: { url: x } }\n', 'tidemark.yaml:1:13: this name cannot be used'],
    ['clusters: { "--x": { url: x } }\n', 'expected a cluster name'],
    ['clusters: { a: { url: postgres://u@h/d, host: h } }\n', 'gives both url (tidemark.yaml:1) and host (tidemark.yaml:1)'],
    ['clusters: { a: { url: postgres://u@h/d, container: c, compose: { service: s } } }\n', 'names both a container'],
    ['clusters: { a: { url: postgres://u@h/d, repositories: [nope] } }\n', 'no repository is called "nope"'],
    ['clusters: { a: { url: env:NOPE } }\n', 'tidemark.yaml:1:18 clusters.a.url: the variable NOPE is not set, or empty'],
    ['clusters: { a: { url: "env:" } }\n', 'after env: the name of a variable is expected'],
    ['clusters: { a: { url: file:./nope } }\n', 'nope does not exist'],
    ['clusters: { a: { url: "file:." } }\n', 'is a directory'],
    ['clusters: { a: { url: DATABASE_URL } }\n', 'cannot use tidemark.yaml:1'],
  ])('says what is wrong and where: %j', async (text, expected) => {
    await using room = await testRoom({ 'tidemark.yaml': text })
    const failure = await room.failure()
    expect(failure.message).toContain(expected)
    expect(failure.exitCode).toBe(2)
  })

  it('names all problems of a file at once, in the order of its lines', async () => {
    await using room = await testRoom({ 'tidemark.yaml': 'foo: 1\nclusters:\n  a:\n    bar: 2\n    port: x\nrepositories: { r: {} }\n' })
    const { message, details } = await room.failure()
    expect(
      message
        .split('\n')
        .slice(1)
        .map((line) => line.trim().split(' ')[0]),
    ).toEqual(['tidemark.yaml:1:1', 'tidemark.yaml:4:5', 'tidemark.yaml:5:5', 'tidemark.yaml:6:17'])
    expect(details['problems']).toHaveLength(4)
  })

  it('a key that is a URL with a forgotten blank does not show its password', async () => {
    await using room = await testRoom({ 'tidemark.yaml': 'clusters:\n  a: { url postgres://u:hunter2@h/d }\n' })
    const { message } = await room.failure()
    expect(message).toContain('tidemark.yaml:2')
    expect(message).not.toContain('hunter2')
  })

  it('follows file: references, trimming exactly one line end', async () => {
    await using room = await testRoom({
      'tidemark.yaml': 'clusters: { a: { host: h, user: u, database: d, password: file:./secret } }\n',
      secret: 'pa ss \r\n',
      empty: '\n',
    })
    expect((await room.load()).clusters['a']?.target.password?.reveal()).toBe('pa ss ')
    await writeFile(join(room.directory, 'tidemark.yaml'), 'clusters: { a: { url: file:./empty } }\n')
    expect((await room.failure()).message).toContain('is empty')
  })

  it('reads a reference from .env, and the process environment comes first there too', async () => {
    await using room = await testRoom({ 'tidemark.yaml': 'clusters: { a: { url: env:MY_URL } }\n', '.env': 'MY_URL=postgres://u@dotenv/d\n' })
    expect((await room.load()).clusters['a']?.target.host).toBe('dotenv')
    expect((await room.load({ MY_URL: 'postgres://u@process/d' })).clusters['a']?.target.host).toBe('process')
  })

  it('never pairs a key id of the file with the secret of the environment', async () => {
    await using room = await testRoom({ 'tidemark.yaml': 'repositories: { r: { s3: { bucket: abc, accessKeyId: AKIA } } }\n' })
    expect((await room.failure({ AWS_SECRET_ACCESS_KEY: 's' })).message).toContain('the secret access key is missing')
  })

  it('a directory in place of the file is an error: Docker makes one for a missing bind mount', async () => {
    await using room = await testRoom({ 'tidemark.yaml/x': '', '.env/pyvenv.cfg': '' })
    expect((await room.failure()).message).toBe('cannot read tidemark.yaml: it is a directory')
    expect((await room.failure({}, { envFile: '.env' })).message).toBe('cannot read .env: it is a directory')
    await rm(join(room.directory, 'tidemark.yaml'), { recursive: true })
    expect((await room.load()).envFile).toBeNull()
  })

  it('an empty file is a configuration without settings', async () => {
    await using room = await testRoom({ 'tidemark.yaml': '# nothing yet\n' })
    expect((await room.load({ DATABASE_URL: 'postgres://u@h/d' })).clusters['d']?.target.host).toBe('h')
  })
})

describe('hostile files', () => {
  const parts = [
    'clusters',
    ': ',
    '\n',
    '  ',
    '- ',
    '{',
    '}',
    '[',
    ']',
    '"',
    "'",
    '&a ',
    '*a',
    '!x ',
    '<<',
    '? ',
    '| ',
    'url',
    'dump',
    'null',
    '0x1',
    '~',
    '#',
    '__proto__',
    'constructor',
    ', ',
    '---',
    '\t',
  ]

  it('end in a Failure or in settings, never in anything else', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(fc.constantFrom(...parts)).map((chosen) => chosen.join('')),
    )
    fc.assert(
      fc.property(text, (content) => {
        try {
          parseConfigFile(content, 'tidemark.yaml')
        } catch (error) {
          if (!isFailure(error)) throw error
        }
      }),
      { numRuns: 1000 },
    )
  })

  it('cannot grow without bounds through aliases', () => {
    const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]', ...'bcdefgh'.split('').map((name, index) => `${name}: &${name} [${`*${'abcdefgh'[index]},`.repeat(9)}]`)].join(
      '\n',
    )
    expect(() => parseConfigFile(bomb, 'tidemark.yaml')).toThrow('aliases')
  })
})

describe('config show and config check', () => {
  it('shows the origin of each setting', async () => {
    await using room = await testRoom({ 'tidemark.yaml': documented })
    const rows = describeSettings(await room.load({ DATABASE_URL: 'postgres://u:p@h/nexo' }))
    const row = (path: string) => rows.find((candidate) => candidate.path === path)
    expect(row('clusters.nexo.url')).toEqual({ path: 'clusters.nexo.url', value: 'postgresql://u:***@h:5432/nexo', origin: 'DATABASE_URL (environment)' })
    expect(row('clusters.nexo.password')).toMatchObject({ value: '[secret]', origin: 'DATABASE_URL (environment)' })
    expect(row('repositories.offsite.s3.bucket')).toMatchObject({ value: 'nexo-backups', origin: 'tidemark.yaml:13' })
    expect(row('clusters.nexo.retention')?.value).toContain('does not act in this version')
    expect(rows.every(({ origin }) => origin !== '')).toBe(true)
  })

  it('warns of a password in the file, of two repositories in one place, of TLS that protects nothing', async () => {
    await using room = await testRoom({
      'tidemark.yaml':
        'clusters: { a: { url: "postgres://u:hunter2@db.example.com/a" } }\nrepositories: { x: { path: ./b }, y: { path: b/, fileMode: "0644" }, z: { s3: { bucket: abc, endpoint: "http://minio:9000" } } }\n',
    })
    const findings = checkSettings(await room.load())
    const text = findings.map(({ severity, message }) => `${severity}: ${message}`).join('\n')
    expect(text).toContain('error: repositories "x" and "y" lie in the same place')
    expect(text).toMatch(/warning: clusters\.a\.url holds a password \(tidemark\.yaml:1\)/)
    expect(text).toContain('warning: cluster "a": TLS mode prefer')
    expect(text).toContain('warning: repository "y": its permissions')
    expect(text).toContain('warning: repository "z": http://minio:9000')
    expect(text).not.toContain('hunter2')
  })

  it('has nothing to say about a sound configuration', async () => {
    await using room = await testRoom({ 'tidemark.yaml': 'clusters: { a: { url: env:URL } }\nrepositories: { x: { path: ./b } }\n' })
    expect(checkSettings(await room.load({ URL: 'postgres://u:p@db.example.com/a?sslmode=verify-full' }))).toEqual([])
    await using empty = await testRoom()
    expect(checkSettings(await empty.load())).toMatchObject([{ severity: 'error', message: expect.stringContaining('DATABASE_URL') }])
  })
})
