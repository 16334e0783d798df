import { describe, expect, it } from 'vitest'
import { Secret } from '../../src/kernel/secret.ts'
import { backupRoleSql } from '../../src/postgres/backup-role.ts'
import { startClient } from '../../src/postgres/client-process.ts'
import { chooseClientTools, discoverClientTools } from '../../src/postgres/client-tools.ts'
import { checkDumpRights } from '../../src/postgres/dump-rights.ts'
import { identifierAsNeeded, qualifiedName, quoteIdentifier, quoteLiteral } from '../../src/postgres/identifiers.ts'
import { readServerFacts } from '../../src/postgres/server-facts.ts'
import { openSession } from '../../src/postgres/session.ts'
import { sharedCluster } from '../support/cluster.ts'

const named = { applicationName: 'tidemark test' }

describe.each([13, 18])('PostgreSQL %i', (major) => {
  it('tells what it is, to a superuser and to a role without rights', async () => {
    const cluster = await sharedCluster(major)
    await using scratch = await cluster.createScratchDatabase(`facts "of" ${major}`)
    await using session = await scratch.session()
    await session.query(
      `COMMENT ON DATABASE ${quoteIdentifier(scratch.name)} IS 'it''s ours'; REVOKE CONNECT ON DATABASE ${quoteIdentifier(scratch.name)} FROM PUBLIC`,
    )
    const facts = await readServerFacts(session)
    expect(facts).toMatchObject({
      major,
      inRecovery: false,
      provider: null,
      dataDirectory: cluster.server.dataDirectory,
      role: { name: 'postgres', superuser: true },
      settings: { server_encoding: 'UTF8', TimeZone: 'UTC' },
    })
    expect(facts.settings.transaction_timeout).toBe(major >= 17 ? '0' : null)
    expect(facts.version).toMatch(new RegExp(`^${major}\\.\\d+$`))
    expect(facts.databases.find(({ name }) => name === scratch.name)).toMatchObject({
      owner: 'postgres',
      encoding: 'UTF8',
      comment: "it's ours",
      isTemplate: false,
      isInvalid: false,
      canConnect: true,
    })
    expect(facts.databases.find(({ name }) => name === 'template0')).toMatchObject({ isTemplate: true, allowsConnections: false, canConnect: false })

    await session.query(`DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN PASSWORD 'plain'`)
    await using poor = await openSession({ ...cluster.target, user: 'plain', password: new Secret('plain') }, { ...named, database: 'postgres' })
    const seen = await readServerFacts(poor)
    expect(seen).toMatchObject({ dataDirectory: null, role: { name: 'plain', superuser: false, createDatabase: false, bypassRls: false, readsAllData: false } })
    expect(seen.databases.find(({ name }) => name === scratch.name)).toMatchObject({ canConnect: false, sizeBytes: null })
    expect(seen.databases.find(({ name }) => name === 'postgres')?.sizeBytes).toBeGreaterThan(1_000_000)
  })

  it('quotes a name just where PostgreSQL itself does', async () => {
    const cluster = await sharedCluster(major)
    await using session = await cluster.session()
    const words = (await session.query<{ word: string; category: string }>('SELECT word, catcode::text AS category FROM pg_get_keywords()')).map(
      ({ word }) => word,
    )
    const names = [...words, 'plain', 'Upper', 'with space', '1st', '_x', 'ü', 'a"b', 'a$b', '', '🔑']
    const quoted = await session.query<{ name: string; quoted: string }>('SELECT n AS name, quote_ident(n) AS quoted FROM unnest($1::text[]) n', [names])
    // A word reserved in another major is quoted too: what we write is also read by newer servers.
    for (const { name, quoted: theirs } of quoted) if (theirs !== name) expect([name, identifierAsNeeded(name)]).toEqual([name, theirs])
    expect(quoted.filter(({ name, quoted: theirs }) => identifierAsNeeded(name) !== theirs).length).toBeLessThan(15)
    for (const value of ["it's", 'back\\slash', `'";--`, 'ünï', '$1 :x'])
      expect(await session.query(`SELECT ${quoteLiteral(value)} AS value`)).toEqual([{ value }])
    expect(qualifiedName('public', 'user')).toBe('public."user"')
  })
})

describe.each([13, 15])('the rights to dump PostgreSQL %i', (major) => {
  it('are found missing one by one, and the SQL that is offered mends them, which pg_dump confirms', async () => {
    const cluster = await sharedCluster(major)
    await using scratch = await cluster.createScratchDatabase()
    await using admin = await scratch.session()
    await admin.query(`DROP ROLE IF EXISTS "Backup"; CREATE ROLE "Backup" LOGIN PASSWORD 'b'`)
    await admin.query(`
      CREATE SCHEMA shut; CREATE TABLE shut."in" (i serial); CREATE TABLE public.rls (i int); ALTER TABLE public.rls ENABLE ROW LEVEL SECURITY;
      CREATE UNLOGGED TABLE public.quick (i int); CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
      CREATE FOREIGN TABLE public.far (i int) SERVER far; SELECT lo_from_bytea(0, 'x'); ALTER ROLE "Backup" SET statement_timeout = '5min'`)
    const target = { ...scratch.target, user: 'Backup', password: new Secret('b') }
    const check = async () => {
      await using session = await openSession(target, named)
      return await checkDumpRights(session)
    }
    const dumps = async () => {
      const { tools } = chooseClientTools(await discoverClientTools({ path: process.env['PATH'] ?? '' }), { serverMajor: 15, purpose: 'dump' })
      if (tools.programs.pg_dump === undefined) throw new Error('no pg_dump')
      await using dump = await startClient(tools.programs.pg_dump, ['--format=plain'], target, named)
      dump.stdout.resume()
      return await dump.requireSuccess().then(
        () => 'dumped',
        (error: Error) => error.message,
      )
    }

    const found = await check()
    expect(found.filter(({ severity }) => severity === 'error').map(({ what }) => what)).toEqual([
      'the role "Backup" may not look into 1 schema: shut',
      expect.stringMatching(/may not read 3 tables: public.quick, public.rls, shut."in"$/),
      expect.stringMatching(/may not read 1 sequence: shut.in_i_seq/),
      expect.stringMatching(/may not read 1 large object/),
      expect.stringMatching(/row-level security would hide rows of 1 table .*: public.rls$/),
    ])
    expect(found.filter(({ severity }) => severity === 'warning').map(({ what }) => what)).toEqual([
      expect.stringContaining('statement_timeout is 300000 ms'),
      expect.stringContaining('unlogged table will be in dumps'),
      expect.stringContaining('foreign table live on another server'),
    ])
    expect(await dumps()).toContain('permission denied')

    for (const { fixSql } of found) if (fixSql !== null) await admin.query(fixSql)
    expect((await check()).filter(({ severity }) => severity === 'error')).toEqual([])
    expect(await dumps()).toBe('dumped')
    await admin.query('DROP OWNED BY "Backup"; DROP ROLE "Backup"')
  })

  it('are complete for the role that is generated, and it can do nothing else', async () => {
    const cluster = await sharedCluster(major)
    await using scratch = await cluster.createScratchDatabase(`the "shop"`)
    await using admin = await scratch.session()
    await admin.query(`CREATE TABLE goods (i serial); ALTER TABLE goods ENABLE ROW LEVEL SECURITY; SELECT lo_from_bytea(0, 'x')`)
    await admin.query(backupRoleSql({ role: 'Shop Backup', database: scratch.name, serverMajor: major, schemas: ['public'] }))
    await admin.query(`ALTER ROLE "Shop Backup" PASSWORD 's'; CREATE TABLE later (i serial)`)
    await using session = await openSession({ ...scratch.target, user: 'Shop Backup', password: new Secret('s') }, named)
    expect((await checkDumpRights(session)).filter(({ severity }) => severity === 'error')).toEqual([])
    expect(await session.query('SELECT count(*)::int AS n FROM later')).toEqual([{ n: 0 }])
    await session.query('SET default_transaction_read_only = off')
    await expect(session.query('INSERT INTO goods DEFAULT VALUES')).rejects.toMatchObject({ code: 'permission-denied' })
    await expect(session.query('CREATE DATABASE other')).rejects.toMatchObject({ code: 'permission-denied' })
    await admin.query('DROP OWNED BY "Shop Backup"; DROP ROLE "Shop Backup"')
  })
})
