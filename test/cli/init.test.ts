import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Finding } from '../../src/api/doctor/finding.ts'
import { type ScratchDatabase, sharedCluster } from '../support/cluster.ts'
import { onTerminal } from '../support/terminal.ts'
import { type TidemarkRoom, tidemarkRoom, urlOf } from '../support/tidemark-cli.ts'

interface InitDocument {
  readonly configFile: string
  readonly secretFile: string | null
  readonly findings: readonly Finding[]
  readonly backup: { readonly state: string; readonly path: string } | null
  readonly yaml?: string
}

let scratch: ScratchDatabase
const password = 'cänary @:/?#%-9Zx'
const role = `initial_${process.pid}`

beforeAll(async () => {
  scratch = await (await sharedCluster(15)).createScratchDatabase()
  await using session = await scratch.session()
  await session.query(
    `CREATE TABLE users (id int); INSERT INTO users VALUES (1); CREATE ROLE ${role} LOGIN PASSWORD '${password}'; GRANT pg_read_all_data TO ${role}`,
  )
})

afterAll(async () => {
  await using session = await scratch.session()
  await session.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
  await scratch[Symbol.asyncDispose]()
})

const url = () => urlOf({ ...scratch.target, user: role, password: { reveal: () => password } })

/** Every file of the room whose text holds a piece of the password, in any of its forms. */
async function filesWithPassword(room: TidemarkRoom): Promise<readonly string[]> {
  const found: string[] = []
  for (const entry of await readdir(room.directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isFile() && (await readFile(path, 'latin1')).includes('-9Zx')) found.push(path.slice(room.directory.length + 1))
  }
  return found
}

describe('init', () => {
  it('sets up from DATABASE_URL alone to a verified backup, and writes no password', async () => {
    await using room = await tidemarkRoom()
    const env = { DATABASE_URL: url() }
    const end = await room.run(['init', '--yes', '--json'], env)
    expect(end.stderr).not.toContain('✗')
    expect(end.exitCode).toBe(0)
    const done = end.json<InitDocument>()
    expect(done.secretFile).toBeNull()
    expect(done.backup?.state).toBe('verified')
    const yaml = await readFile(join(room.directory, 'tidemark.yaml'), 'utf8')
    expect(yaml).toContain('url: env:DATABASE_URL')
    expect((await stat(join(room.directory, 'tidemark.yaml'))).mode & 0o777).toBe(0o600)
    expect(await filesWithPassword(room)).toEqual([])
    expect(end.stdout + end.stderr).not.toContain('-9Zx')
    expect((await room.run(['list', '--json'], env)).json<{ backups: unknown[] }>().backups).toHaveLength(1)
    expect((await room.run(['doctor'], env)).exitCode).toBe(0)
  })

  it('keeps a password that was typed in a file of its own, which only this account can read', async () => {
    await using room = await tidemarkRoom()
    const end = await room.run(['init', '--url', url(), '--name', 'shop', '--repo-path', 'store', '--profile', 'production', '--non-interactive'])
    expect(end.stderr).toBe('')
    expect(end.exitCode).toBe(0)
    expect(await filesWithPassword(room)).toEqual(['tidemark-shop.url'])
    expect((await stat(join(room.directory, 'tidemark-shop.url'))).mode & 0o777).toBe(0o600)
    expect(await readFile(join(room.directory, 'tidemark.yaml'), 'utf8')).toMatch(/url: file:\.\/tidemark-shop\.url[^]*schedule:/)
    // What was written works without the variable.
    const backup = await room.run(['backup', '--json'])
    expect(backup.stderr).not.toContain('✗')
    expect(backup.exitCode).toBe(0)
    expect((await readdir(join(room.directory, 'store'))).some((name) => name.endsWith('.dump.zst'))).toBe(true)
  })

  it('takes the variables of the seeds, each part from its own', async () => {
    await using room = await tidemarkRoom()
    const { host, port } = scratch.target
    await writeFile(
      join(room.directory, '.env'),
      `DB_HOST=${host ?? ''}\nDB_PORT=${port}\nDB_USER=${role}\nDB_NAME=${scratch.name}\nDB_PASS='${password}'\nBACKUP_DIR=./dumps\n`,
    )
    const end = await room.run(['init', '--yes', '--json'])
    expect(end.stderr).not.toContain('✗')
    expect(end.json<InitDocument>().backup?.path).toContain(`${room.directory}/dumps/`)
    expect(await filesWithPassword(room)).toEqual(['.env'])
    expect((await room.run(['backup', '--json'])).exitCode).toBe(0)
  })

  it('overwrites nothing without --force', async () => {
    await using room = await tidemarkRoom()
    const env = { DATABASE_URL: url() }
    await writeFile(join(room.directory, 'tidemark.yaml'), '# mine\n')
    const refused = await room.run(['init', '--non-interactive'], env)
    expect(refused.exitCode).toBe(1)
    expect(refused.stderr).toContain('--force')
    expect(await readFile(join(room.directory, 'tidemark.yaml'), 'utf8')).toBe('# mine\n')
    expect((await room.run(['init', '--non-interactive', '--force'], env)).exitCode).toBe(0)
    expect(await readFile(join(room.directory, 'tidemark.yaml'), 'utf8')).toContain('clusters:')
  })

  it('writes nothing in a dry run, nor where the server or the storage cannot be used', async () => {
    await using room = await tidemarkRoom()
    const dry = await room.run(['init', '--dry-run', '--json', '--url', url()])
    expect(dry.exitCode).toBe(0)
    expect(dry.json<InitDocument>().yaml).toContain('repositories:')
    expect(dry.stdout + dry.stderr).not.toContain('-9Zx')
    const down = await room.run(['init', '--yes', '--url', 'postgres://app:canary-9Zx@127.0.0.1:1/shop'])
    expect(down.exitCode).toBe(1)
    expect(down.stdout + down.stderr).not.toContain('-9Zx')
    await writeFile(join(room.directory, 'file'), '')
    expect((await room.run(['init', '--yes', '--url', url(), '--repo-path', 'file'])).exitCode).toBe(1)
    await mkdir(join(room.directory, 'pgdata/global'), { recursive: true })
    await writeFile(join(room.directory, 'pgdata/PG_VERSION'), '15')
    expect((await room.run(['init', '--yes', '--url', url(), '--repo-path', 'pgdata/backups'])).exitCode).not.toBe(0)
    expect((await readdir(room.directory)).toSorted()).toEqual(['file', 'pgdata', 'work'])
  })

  it('sets up for a role that cannot read everything, says what to grant, and takes no backup that would fail', async () => {
    await using session = await scratch.session()
    await session.query(`REVOKE pg_read_all_data FROM ${role}`)
    try {
      await using room = await tidemarkRoom()
      const end = await room.run(['init', '--yes'], { DATABASE_URL: url() })
      expect(end.exitCode).toBe(3)
      expect(end.stdout).toContain(`GRANT SELECT ON TABLE public.users TO ${role};`)
      expect((await room.run(['list', '--json'], { DATABASE_URL: url() })).json<{ backups: unknown[] }>().backups).toEqual([])
    } finally {
      await session.query(`GRANT pg_read_all_data TO ${role}`)
    }
  })

  it('names the file that it wrote in the commands it advises, unless it is found by itself', async () => {
    await using room = await tidemarkRoom()
    const env = { DATABASE_URL: url() }
    expect((await room.run(['init', '--output', 'prod.yaml', '--non-interactive'], env)).stdout).toContain('Ready. Next: tidemark backup --config prod.yaml\n')
    expect((await room.run(['init', '--non-interactive'], env)).stdout).toContain('Ready. Next: tidemark backup\n')
  })

  it.each(['SIGTERM', 'SIGINT'] as const)('%s at a question ends with 130 and writes nothing', async (signal) => {
    await using room = await tidemarkRoom()
    await using terminal = onTerminal(room, ['init'])
    await terminal.shows('Database URL')
    terminal.signal(signal)
    expect(await terminal.exitCode()).toBe(130)
    expect(await readdir(room.directory)).toEqual(['work'])
  })

  it('offers first the profile that acts: none', async () => {
    await using room = await tidemarkRoom()
    await using terminal = onTerminal(room, ['init', '--url', url(), '--name', 'shop', '--repo-path', './backups', '--no-encrypt', '--no-first-backup'])
    await terminal.shows('Schedule and retention')
    terminal.type('\r')
    expect(await terminal.exitCode()).toBe(0)
    expect(await readFile(join(room.directory, 'tidemark.yaml'), 'utf8')).not.toContain('schedule')
  })

  it('says what it needs when nothing names a database', async () => {
    await using room = await tidemarkRoom()
    const end = await room.run(['init', '--yes'])
    expect(end.exitCode).toBe(2)
    expect(end.stderr).toContain('--url')
  })
})
