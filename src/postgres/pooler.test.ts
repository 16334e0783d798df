import { expect, it } from 'vitest'
import { parseConnectionUrl } from './connection-url.ts'
import { directHints, recogniseProvider } from './pooler.ts'

it.each([
  ['ep-cool-1-pooler.eu-central-1.aws.neon.tech', 'Neon'],
  ['aws-0-eu.pooler.supabase.com', 'Supabase'],
  ['db.abc.supabase.co', 'Supabase'],
  ['roundhouse.proxy.rlwy.net', 'Railway'],
  ['db-postgresql-fra1-1-do-user-1-0.b.db.ondigitalocean.com', 'DigitalOcean'],
  ['x.abc.eu-west-1.rds.amazonaws.com', 'Amazon RDS'],
  ['x.postgres.database.azure.com', 'Azure'],
  ['localhost', null],
  ['neon.tech.example.com', null],
  [null, null],
])('%s belongs to %s', (host, provider) => expect(recogniseProvider(host)).toBe(provider))

it('names the direct connection as the provider names it', () => {
  expect(directHints(parseConnectionUrl('postgres://u@ep-cool-1-pooler.eu.aws.neon.tech/d'))[0]).toBe('use the direct host: ep-cool-1.eu.aws.neon.tech')
  expect(directHints(parseConnectionUrl('postgres://u@aws-0-eu.pooler.supabase.com:6543/d'))[0]).toContain('port 5432 instead of 6543')
  expect(directHints(parseConnectionUrl('postgres://u@h:6432/d')).join()).toContain('PgBouncer')
})
