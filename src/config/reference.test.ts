import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { referenceFiles } from '../../scripts/reference/configuration.ts'
import { testRoom } from '../../test/support/config-room.ts'
import { checkVariable } from './variable-rules.ts'
import { laterArea, variables } from './variables.ts'
import { renderConfigYaml } from './write.ts'

const referenceDirectory = join(import.meta.dirname, '..', '..', 'docs', 'reference')

describe('the generated reference', () => {
  it.each(Object.keys(referenceFiles()))('docs/reference/%s is what the tables say (else run: node scripts/write-reference.ts)', async (name) => {
    expect(await readFile(join(referenceDirectory, name), 'utf8')).toBe(referenceFiles()[name])
  })

  it('lists every variable and marks what does not act', () => {
    const page = referenceFiles()['environment.md'] ?? ''
    for (const spec of variables) {
      const row = page.split('\n').find((line) => line.startsWith(`| \`${spec.name}\` |`))
      expect(row, spec.name).toBeDefined()
      const area = laterArea(spec)
      if (area !== null) expect(row).toContain(`later: ${area}`)
    }
    expect(referenceFiles()['configuration.md']).toMatch(/`clusters\.NAME\.retention\.daily` .*\*later: retention\*/)
  })
})

describe('the table of variables', () => {
  it('has each name once, and an example that its own rule accepts', () => {
    expect(new Set(variables.map(({ name }) => name)).size).toBe(variables.length)
    for (const spec of variables) expect(() => checkVariable[spec.rule](spec.example), spec.name).not.toThrow()
  })

  it('holds every variable that the replaced scripts knew, and every further one', () => {
    const promised =
      'DATABASE_URL DB_HOST DB_PORT DB_USER DB_NAME DB_PASS PGPASSWORD DATABASE_HOST DATABASE_PORT DATABASE_USERNAME DATABASE_NAME POSTGRES_CONTAINER POSTGRES_DB POSTGRES_USER BACKUP_DIR BACKUP_DIRECTORY BACKUP_COMPRESSION BACKUP_RETENTION_DAYS RETENTION_DAYS BACKUP_RETENTION DAILY_RETENTION WEEKLY_RETENTION MONTHLY_RETENTION BACKUP_WEEKLY_RETENTION BACKUP_MONTHLY_RETENTION BACKUP_ENABLED BACKUP_INTERVAL BACKUP_S3_PREFIX S3_BUCKET_NAME S3_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY BACKUP_NOTIFICATION_EMAIL MAIL_SMTP_SERVER MAIL_SMTP_PORT MAIL_USERNAME MAIL_PASSWORD MAIL_FROM BACKUP_FILE DB_PASSWORD DATABASE_PASSWORD POSTGRES_PASSWORD POSTGRES_HOST POSTGRES_PORT PGHOST PGPORT PGUSER PGDATABASE PGPASSFILE PGSSLMODE AWS_SESSION_TOKEN AWS_PROFILE AWS_ENDPOINT_URL_S3 TZ'
    const known = new Set(variables.map(({ name }) => name))
    expect(promised.split(' ').filter((name) => !known.has(name))).toEqual([])
  })

  it.each(variables.filter(({ status, setting }) => status === 'used' && /^(?:clusters|repositories)\./.test(setting)).map(({ name }) => name))(
    '%s alone, in a fitting place, is used or explained, never lost',
    async (name) => {
      await using room = await testRoom({ 'services.conf': '[billing]\nhost=h\n' })
      const example = name === 'PGSERVICEFILE' ? './services.conf' : (variables.find((spec) => spec.name === name)?.example ?? '')
      const pair = name.startsWith('AWS_ACCESS') || name.startsWith('AWS_SECRET') ? { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' } : {}
      const service = name === 'PGSERVICE' ? { PGSERVICEFILE: './services.conf' } : {}
      const settings = await room.load({ ...pair, ...service, [name]: example })
      const acts = Object.values(settings.origins).some((origin) => origin.startsWith(`${name} (`))
      expect(acts || settings.ignored.some(({ variable }) => variable === name)).toBe(true)
    },
  )
})

describe('the file that init writes', () => {
  const answers = {
    cluster: 'nexo',
    url: 'env:DATABASE_URL',
    repositories: [
      { name: 'local', path: './backups' },
      { name: 'offsite', s3: { bucket: 'nexo-backups', region: 'us-east-1' }, layout: 'tiered' },
    ],
  } as const

  it.each(['development', 'staging', 'production'] as const)('is read back as what was answered (%s)', async (profile) => {
    const text = renderConfigYaml({
      ...answers,
      container: 'nexo-postgres',
      databases: ['nexo', 'a: b # c'],
      timeZone: 'Europe/Paris',
      adminUrl: 'env:ADMIN_URL',
      profile,
    })
    await using room = await testRoom({ 'tidemark.yaml': text })
    const settings = await room.load({ DATABASE_URL: 'postgres://u:p@h/nexo', ADMIN_URL: 'postgres://a:p@h/nexo' })
    expect(settings.clusters['nexo']).toMatchObject({
      timeZone: 'Europe/Paris',
      repositories: ['local', 'offsite'],
      adminTarget: { user: 'a' },
      dump: { databases: ['nexo', 'a: b # c'], format: 'custom' },
    })
    expect(settings.repositories['offsite']).toMatchObject({ layout: 'tiered', storage: { bucket: 'nexo-backups' } })
    expect(settings.notActing.map(({ area }) => area)).toEqual(['schedule', 'retention'])
  })

  it('never holds a password', () => {
    expect(() => renderConfigYaml({ ...answers, url: 'postgres://u:hunter2@h/d' })).toThrow('holds a password')
    expect(renderConfigYaml({ ...answers, url: 'postgres://u@h/d' })).toContain('url: postgres://u@h/d')
  })
})
