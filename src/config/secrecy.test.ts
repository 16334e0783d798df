import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { isFailure } from '../kernel/failure.ts'
import { checkSettings, describeSettings } from './describe.ts'
import { testRoom } from '../../test/support/config-room.ts'
import { variables } from './variables.ts'

const canary = 'cAnArY7f3k'

/** Everything a careless log line, crash report or JSON document would show. */
const shown = (value: unknown) =>
  [
    inspect(value, { depth: 20, showHidden: true }),
    String(value),
    JSON.stringify(value),
    value instanceof Error ? `${value.message}${value.stack ?? ''}${inspect(value.cause, { depth: 20 })}` : '',
  ].join('\n')

describe('no secret is shown', () => {
  it('in settings, descriptions and findings, wherever it came from', async () => {
    await using room = await testRoom({
      'tidemark.yaml': `clusters:
  a: { url: "postgres://u:${canary}@h/a", adminUrl: env:ADMIN_URL, drill: { server: "postgres://d:${canary}@h/d" } }
  b: { host: h, user: u, database: b, password: file:./secret }
repositories:
  r: { s3: { bucket: abc, accessKeyId: env:KEY, secretAccessKey: env:KEY, sessionToken: env:KEY } }
  s: { s3: { bucket: abd } }
notify:
  - webhook: { url: "https://hooks.example.com/${canary}", headers: { authorization: "Bearer ${canary}" } }
  - email: { to: a@b.c, smtp: { host: h, password: env:KEY } }
`,
      secret: canary,
    })
    const settings = await room.load({
      ADMIN_URL: `postgres://u:${canary}@h/a`,
      KEY: canary,
      AWS_ACCESS_KEY_ID: canary,
      AWS_SECRET_ACCESS_KEY: canary,
      AWS_SESSION_TOKEN: canary,
    })
    expect(settings.clusters['a']?.target.password?.reveal()).toBe(canary)
    for (const value of [settings, describeSettings(settings), checkSettings(settings), settings.notActing]) expect(shown(value)).not.toContain(canary)
  })

  it('in zero-file mode', async () => {
    const secrets = variables.filter(({ rule, status }) => rule === 'secret' && status !== 'refused').map(({ name }) => name)
    await using room = await testRoom({
      '.env': secrets.map((name) => `${name}=${canary}\n`).join('') + `DATABASE_URL=postgres://u:${canary}@h/d\nS3_BUCKET_NAME=abc\n`,
    })
    const settings = await room.load()
    expect(settings.clusters['d']?.target.password?.reveal()).toBe(canary)
    for (const value of [settings, describeSettings(settings), checkSettings(settings)]) expect(shown(value)).not.toContain(canary)
  })

  it.each(variables.map(({ name }) => name))('in the failure or the settings when %s holds one by mistake', async (name) => {
    for (const value of [canary, `${canary} \u0007`, `postgres://u:${canary}@@/?`, `https://u:${canary}@h:x`]) {
      await using room = await testRoom()
      const result: unknown = await room
        .load({
          ...(name === 'DATABASE_URL' ? {} : { POSTGRES_DB: 'nexo', S3_BUCKET_NAME: 'bucket', AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' }),
          [name]: value,
        })
        .catch((error: unknown) => error)
      // A value that is valid for a setting that is no secret is shown: that is what the setting is for.
      if (isFailure(result) && !['PGSERVICE', 'PGSERVICEFILE', 'TIDEMARK_CONFIG'].includes(name)) expect(shown(result)).not.toContain(canary)
    }
  })

  it.each([
    `clusters: { a: { password: ${canary} } }`,
    `clusters: { a: { url: ${canary} } }`,
    `clusters: { a: { url: "mysql://u:${canary}@h/d" } }`,
    `clusters: { a: { url: "postgres://u:${canary}@h:port/d" } }`,
    `clusters: { a: { port: ${canary} } }`,
    `clusters: { a: { dump: { compress: ${canary} } } }`,
    `clusters: { a: { dump: { format: ${canary} } } }`,
    `clusters: { a: { timezone: ${canary} } }`,
    `clusters: { a: { url: "x${canary} } }`,
    `clusters: { a: { url: *${canary} } }`,
    `clusters: { a: { url: !${canary} x } }`,
    `clusters: { a: { url: "\\q${canary}" } }`,
    `password: "a\n ${canary}: b: c`,
    `repositories: { r: { s3: { bucket: ${canary}/x } } }`,
    `repositories: { r: { s3: { bucket: abc, secretAccessKey: ${canary} } } }`,
    `repositories: { r: { s3: { bucket: abc, endpoint: "http://u:${canary}@h" } } }`,
    `- postgres://u:${canary}@h/d`,
    `postgres://u:${canary}@h/d`,
  ])('in the failure of %j', async (text) => {
    await using room = await testRoom({ 'tidemark.yaml': text.replaceAll(canary, canary) })
    expect(shown(await room.failure())).not.toContain(canary)
  })
})
