import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Diagnosis } from '../../src/api/doctor/diagnose.ts'
import type { Finding } from '../../src/api/doctor/finding.ts'
import { type ScratchDatabase, sharedCluster, type TestCluster } from '../support/cluster.ts'
import { tidemarkRoom, urlOf } from '../support/tidemark-cli.ts'

let cluster: TestCluster
let scratch: ScratchDatabase
const role = `reader_${process.pid}`
const secret = 'pa%ss:@/word-7Hq'

beforeAll(async () => {
  cluster = await sharedCluster(15)
  scratch = await cluster.createScratchDatabase()
  await using session = await scratch.session()
  await session.query(
    `CREATE TABLE open (id int); CREATE TABLE "Closed" (id int); CREATE TABLE hidden (id int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; SELECT lo_from_bytea(424242, 'x')`,
  )
  await session.query(`CREATE ROLE ${role} LOGIN PASSWORD '${secret}'; GRANT SELECT ON open, hidden TO ${role}`)
})

afterAll(async () => {
  await scratch[Symbol.asyncDispose]()
  await using session = await cluster.session()
  await session.query(`DROP ROLE ${role}`)
})

const readerUrl = () => urlOf({ ...scratch.target, user: role, password: { reveal: () => secret } })
const find = (diagnosis: Diagnosis, check: string, severity?: string): readonly Finding[] =>
  diagnosis.findings.filter((finding) => finding.check === check && (severity === undefined || finding.severity === severity))

describe('doctor', () => {
  it('names each table, large object and policy that would stop pg_dump, with the exact statement, and exits 1', async () => {
    await using room = await tidemarkRoom()
    const end = await room.run(['doctor', '--json'], { DATABASE_URL: readerUrl() })
    expect(end.exitCode).toBe(1)
    const diagnosis = end.json<Diagnosis & { error: object }>()
    expect(diagnosis.error).toMatchObject({ code: 'doctor-failed', exitCode: 1 })
    const fixes = find(diagnosis, 'role-rights', 'fail')
      .map((finding) => finding.fix ?? '')
      .join('\n')
    expect(fixes).toContain(`GRANT SELECT ON TABLE public."Closed" TO ${role};`)
    expect(fixes).not.toContain('public.open ')
    expect(fixes).toContain('GRANT SELECT ON LARGE OBJECT')
    expect(fixes).toContain(`ALTER ROLE ${role} BYPASSRLS;`)
    expect(find(diagnosis, 'role-rights', 'ok')).toEqual([])
    expect(find(diagnosis, 'restore-rights', 'warn')[0]?.fix).toContain('adminUrl')
    expect(find(diagnosis, 'tools-dump', 'ok')).toHaveLength(1)

    const text = await room.run(['doctor'], { DATABASE_URL: readerUrl() })
    expect(text.stdout).toMatch(/✗ .*"Closed"/)
    expect(text.stdout).toMatch(/^ {6}fix: GRANT SELECT ON TABLE public\."Closed"/m)
    for (const part of [end.stdout, end.stderr, text.stdout, text.stderr]) expect(part).not.toMatch(/word-7Hq|pa%25ss/)
    // Looking creates nothing.
    expect(await readdir(room.directory)).toEqual(['work'])
  })

  it('mends with --apply what it found, as a role that is stored nowhere, and only after a yes', async () => {
    await using other = await cluster.createScratchDatabase()
    const reader = `apply_${process.pid}`
    await using session = await other.session()
    await session.query(`CREATE TABLE closed (id int); CREATE ROLE ${reader} LOGIN PASSWORD 'x'`)
    try {
      await using room = await tidemarkRoom()
      const url = urlOf({ ...other.target, user: reader, password: { reveal: () => 'x' } })
      const env = { DATABASE_URL: url, ADMIN_URL: urlOf(other.target) }
      expect((await room.run(['doctor', '--apply', '--yes'], env)).exitCode).toBe(2)
      expect((await room.run(['doctor', '--apply', '--admin-url', 'env:ADMIN_URL'], env)).exitCode).toBe(15)
      const dry = await room.run(['doctor', '--apply', '--dry-run', '--admin-url', 'env:ADMIN_URL', '--json'], env)
      expect(dry.exitCode).toBe(1)
      const planned = dry.json<{ applied: unknown[]; plan: { lines: string[] } }>()
      expect(planned.applied).toEqual([])
      expect(planned.plan.lines.join('\n')).toMatch(
        new RegExp(`would run as ${other.target.user} .*\n.*\n?.*GRANT SELECT ON TABLE public\\.closed TO ${reader};`),
      )
      expect((await room.run(['doctor'], env)).exitCode).toBe(1)
      const end = await room.run(['doctor', '--apply', '--admin-url', 'env:ADMIN_URL', '--yes', '--json'], env)
      expect(end.stderr).not.toContain('✗')
      expect(
        end
          .json<{ applied: { sql: string }[] }>()
          .applied.map((each) => each.sql)
          .join(),
      ).toContain(`GRANT SELECT ON TABLE public.closed TO ${reader};`)
      expect(end.exitCode).toBe(0)
      expect((await room.run(['doctor'], env)).exitCode).toBe(0)
      expect(await readdir(room.directory)).toEqual(['work'])
    } finally {
      await session.query(`DROP OWNED BY ${reader}; DROP ROLE ${reader}`)
    }
  })

  it('prints a role script that really makes a role which can back up', async () => {
    await using room = await tidemarkRoom()
    const name = `script_${process.pid}`
    const end = await room.run(['doctor', '--sql', '--role', name], { DATABASE_URL: urlOf(scratch.target) })
    expect(end.exitCode).toBe(0)
    await using session = await scratch.session()
    try {
      await session.query(end.stdout)
      await session.query(`ALTER ROLE ${name} PASSWORD 'scripted'`)
      const checked = await room.run(['doctor', '--json'], { DATABASE_URL: urlOf({ ...scratch.target, user: name, password: { reveal: () => 'scripted' } }) })
      expect(checked.json<Diagnosis>().findings.filter((finding) => finding.severity === 'fail')).toEqual([])
      expect(checked.exitCode).toBe(0)
    } finally {
      await session.query(`DROP OWNED BY ${name}; DROP ROLE ${name}`)
    }
  })

  it('never proposes to make the application’s own role read-only, and changes the role of a backup that exists', async () => {
    await using room = await tidemarkRoom()
    const script = async (url: string) => (await room.run(['doctor', '--sql'], { DATABASE_URL: url })).stdout
    expect(await script(urlOf(scratch.target))).toMatch(/^CREATE ROLE tidemark LOGIN/m)
    expect(await script(readerUrl())).toMatch(new RegExp(`^ALTER ROLE ${role} LOGIN`, 'm'))
    await using session = await scratch.session()
    await session.query(`GRANT INSERT ON open TO ${role}`)
    expect(await script(readerUrl())).toMatch(/^CREATE ROLE tidemark LOGIN/m)
    await session.query(`REVOKE INSERT ON open FROM ${role}`)
  })

  it('refuses a repository inside a data directory or a tablespace', async () => {
    await using room = await tidemarkRoom()
    const data = join(room.directory, 'pgdata')
    await mkdir(join(data, 'global'), { recursive: true })
    await writeFile(join(data, 'PG_VERSION'), '15\n')
    await mkdir(join(room.directory, 'space/PG_15_202209061'), { recursive: true })
    for (const [path, kind] of [
      ['pgdata/backups', 'data directory'],
      ['space/backups', 'tablespace'],
    ] as const) {
      const env = { DATABASE_URL: urlOf(scratch.target), BACKUP_DIR: `./${path}` }
      const end = await room.run(['doctor', '--json'], env)
      expect(end.exitCode).toBe(1)
      expect(find(end.json(), 'repository-place', 'fail')[0]?.what).toContain(kind)
      expect((await room.run(['repo', 'init'], env)).exitCode).toBe(15)
      expect((await room.run(['repo', 'test'], env)).exitCode).toBe(1)
    }
    expect(await readdir(data)).toEqual(expect.arrayContaining(['PG_VERSION', 'global']))
    expect(await readdir(data)).toHaveLength(2)
    expect((await room.run(['repo', 'init'], { BACKUP_DIR: './outside' })).exitCode).toBe(0)
  })

  it('names a server that cannot be reached, a database that is not there, open permissions and ignored variables', async () => {
    await using room = await tidemarkRoom()
    const down = await room.run(['doctor', '--json'], { DATABASE_URL: 'postgres://app:canary-9Z@127.0.0.1:1/shop' })
    expect(down.exitCode).toBe(1)
    expect(find(down.json(), 'connection', 'fail')).toHaveLength(1)
    expect(find(down.json(), 'role-rights')).toEqual([])
    expect(down.stdout + down.stderr).not.toContain('canary-9Z')

    await writeFile(
      join(room.directory, 'tidemark.yaml'),
      'clusters:\n  shop:\n    url: env:DATABASE_URL\n    dump: { databases: [no_such_database] }\nrepositories:\n  local: { path: ./backups, dirMode: "0755" }\n',
    )
    const env = { DATABASE_URL: urlOf(scratch.target), BACKUP_DIR: '/elsewhere' }
    expect((await room.run(['repo', 'init'], env)).exitCode).toBe(0)
    const wrong = (await room.run(['doctor', 'shop', '--json'], env)).json<Diagnosis>()
    expect(find(wrong, 'database', 'fail')[0]?.what).toContain('no_such_database')
    expect(find(wrong, 'repository-access', 'warn')[0]?.fix).toContain('chmod 0700')
    expect(
      find(wrong, 'ignored-variable', 'warn')
        .map((finding) => finding.what)
        .join(),
    ).toContain('BACKUP_DIR')
    expect(find(wrong, 'repository-writable', 'ok')).toHaveLength(1)
    // The probes leave nothing behind.
    expect(await readdir(join(room.directory, 'backups/.tidemark/probe'))).toEqual([])
    expect(await readFile(join(room.directory, 'backups/.tidemark/repository.json'), 'utf8')).toContain('tidemark-repository/1')
  })
})

describe('repo test', () => {
  it('tries every promise of a storage, says how fast it is, and leaves nothing behind', async () => {
    await using room = await tidemarkRoom()
    const end = await room.run(['repo', 'test', '--json'], { BACKUP_DIR: './backups' })
    expect(end.stderr).not.toContain('✗')
    expect(end.exitCode).toBe(0)
    const [test] = end.json<{ storages: { ok: boolean; cases: { name: string; ok: boolean }[]; conditionalCreate: string; writeBytesPerSecond: number }[] }>()
      .storages
    expect(test?.conditionalCreate).toBe('atomic')
    expect(test?.cases.length).toBeGreaterThan(25)
    expect(test?.writeBytesPerSecond).toBeGreaterThan(0)
    expect(await readdir(room.directory)).toEqual(['work'])
  })

  it('ends with 1 where nothing can be stored', async () => {
    await using room = await tidemarkRoom()
    await writeFile(join(room.directory, 'backups'), 'a file, not a directory')
    const end = await room.run(['repo', 'test'], { BACKUP_DIR: './backups' })
    expect(end.exitCode).toBe(1)
    expect(end.stdout).toMatch(/✗ /)
  })
})
