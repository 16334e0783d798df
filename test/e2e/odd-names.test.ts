import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RestoreResult } from '../../src/api/restore-options.ts'
import { Secret } from '../../src/kernel/secret.ts'
import { quoteIdentifier, quoteLiteral } from '../../src/postgres/identifiers.ts'
import type { Backup } from '../../src/repository/backup.ts'
import { ownCluster, sharedCluster, type TestCluster } from '../support/cluster.ts'
import { openShop } from '../support/shop.ts'
import { urlOf } from '../support/tidemark-cli.ts'
import { tidemarkRoom, type TidemarkRoom } from '../support/tidemark-cli.ts'

const names = [
  '--file=x',
  '-d',
  'a=b',
  'host=127.0.0.1 port=1',
  'postgres://nobody@127.0.0.1:1/x',
  `it's "quoted" \\ $(touch x) \`touch x\``,
  'line\nbreak\ttab\u001b[31mred',
  ' space ',
  '🐘 א\u202e',
  '../../up',
  'UPPER lower',
  'p'.repeat(63),
  `${'p'.repeat(62)}q`,
  '%s%n',
]

describe('databases with names that break other tools', () => {
  let cluster: TestCluster
  let room: TidemarkRoom
  let backups: readonly Backup[]

  beforeAll(async () => {
    cluster = await ownCluster(15)
    await using admin = await cluster.session()
    for (const name of [...names, 'closed', 'half dropped', 'a template']) {
      await admin.query(`CREATE DATABASE ${quoteIdentifier(name)} TEMPLATE template0`)
      await using session = await cluster.session(name)
      await session.query(`CREATE TABLE whose (name text); INSERT INTO whose VALUES (${quoteLiteral(name)})`)
    }
    await admin.query(
      `ALTER DATABASE closed ALLOW_CONNECTIONS false; UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half dropped'; ALTER DATABASE "a template" IS_TEMPLATE true`,
    )
    room = await tidemarkRoom({ target: cluster.target })
  })

  afterAll(async () => {
    await room[Symbol.asyncDispose]()
    await cluster.server[Symbol.asyncDispose]()
  })

  test('are all backed up by one --all-databases, with those that cannot be named and why; an invalid database fails nothing', async () => {
    const all = await room.json<{ backups: Backup[]; warnings: string[] }>(['backup', '--all-databases', '--no-globals'])
    backups = all.backups
    expect(backups.map((backup) => backup.database ?? '').toSorted()).toEqual([...names, 'postgres'].toSorted())
    expect(new Set(backups.map((backup) => backup.path)).size).toBe(backups.length)
    expect(all.warnings.join('\n')).toContain('"half dropped" is left out: it is invalid')
    expect(all.warnings.join('\n')).toContain('"closed" is left out')
    // Each file lies flat in the repository: no name became a path, an option or a command.
    const files = await readdir(room.repository)
    for (const backup of backups) expect(files).toContain(backup.fileName)
    for (const file of files) expect(file).toMatch(/^[\w.][\w.+@=%-]*$/)
    expect((await readdir(room.directory)).toSorted()).toEqual(['backups', 'work'])
  })

  test('are printed without their control characters', async () => {
    const end = await room.run(['list', '--verbose'])
    expect(end.exitCode).toBe(0)
    for (const character of ['\u001b', '\u202e', '\t']) expect(`${end.stdout}${end.stderr}`).not.toContain(character)
    expect(end.stdout).toContain('\\x1b[31mred')
  })

  test.each(names)('%j comes back under a name of its own, and the original is not touched', async (name) => {
    const backup = backups.find((each) => each.database === name)
    const { result } = await room.json<{ result: RestoreResult }>(['restore', '--backup', backup?.id ?? '', '--test'])
    expect(result.errors).toEqual([])
    expect(result.database).not.toBe(name)
    expect(names).not.toContain(result.database)
    expect(Buffer.byteLength(result.database)).toBeLessThanOrEqual(63)
    await using copy = await cluster.session(result.database)
    expect(await copy.query('SELECT name FROM whose')).toEqual([{ name }])
    await using original = await cluster.session(name)
    expect(await original.query('SELECT name FROM whose')).toEqual([{ name }])
  })

  test('two long names that differ in their last letter have two test copies', async () => {
    await using admin = await cluster.session()
    const made = await admin.query<{ datname: string }>(`SELECT datname FROM pg_database WHERE datname LIKE 'ppp%' ORDER BY 1`)
    expect(made.filter(({ datname }) => datname.endsWith('_restore_test'))).toHaveLength(2)
  })

  test.each(['--file=x', 'host=127.0.0.1 port=1', 'line\nbreak\ttab\u001b[31mred', `it's "quoted" \\ $(touch x) \`touch x\``, '../../up'])(
    '%j is reached by a URL, by --database, and takes part in a swap',
    async (name) => {
      const env = { DATABASE_URL: urlOf({ ...cluster.target, database: name }), BACKUP_DIR: './other' }
      const backup = await room.json<Backup>(['backup', `--database=${name}`], { env })
      expect(backup).toMatchObject({ database: name, tables: [{ name: 'whose', rows: 1 }] })
      const { result } = await room.json<{ result: RestoreResult }>(['restore', '--backup', backup.id, '--replace', '--yes'], { env })
      expect(result.database).toBe(name)
      await using session = await cluster.session(name)
      expect(await session.query('SELECT name FROM whose')).toEqual([{ name }])
      await session[Symbol.asyncDispose]()
      await room.json(['undo', '--yes'], { env })
    },
  )
})

describe('passwords', () => {
  // Every printable ASCII character, SCRAM; and what URLs, pgpass files and shells make special at both ends.
  const ascii = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index)).join('')
  test.each([ascii, ` '"\\:@/?#%&=+;$ `, 'pä 🐘 ß'])('%j works in a URL, in parts, and in an .env file, for dump and restore', async (password) => {
    await using shop = await openShop(await sharedCluster(15))
    await shop.sql(
      `DO $$ BEGIN CREATE ROLE e2e_password SUPERUSER LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; ALTER ROLE e2e_password PASSWORD ${quoteLiteral(password)}`,
    )
    const target = { ...shop.target, user: 'e2e_password', password: new Secret(password) }
    await shop.room.json(['backup'], { env: { DATABASE_URL: urlOf(target) } })
    const parts = { DATABASE_URL: '', DB_HOST: target.host ?? '', DB_PORT: String(target.port), DB_USER: 'e2e_password', DB_NAME: shop.name, DB_PASS: password }
    await shop.room.json(['restore', '--test'], { env: parts })
    await writeFile(join(shop.room.directory, 'secrets.env'), `PGPASSWORD="${password.replaceAll(/["\\$`]/g, '\\$&')}"\n`)
    await shop.room.json(['drill', '--server', 'same', '--env-file', 'secrets.env'], { env: { ...parts, DB_PASS: '' } })
    const { error } = await shop.room.json<{ error: { code: string; message: string } }>(['backup'], {
      exitCode: 1,
      env: { ...parts, DB_PASS: `${password}x` },
    })
    expect(error.code).toBe('connection-failed')
    expect(error.message).not.toContain(password)
  })
})
