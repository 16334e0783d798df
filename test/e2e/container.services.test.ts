import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { lyingDocker, startContainer, type TestContainer } from '../support/container.ts'
import { describeWith } from '../support/services.ts'
import { tidemarkRoom, type TidemarkRoom } from '../support/tidemark-cli.ts'

interface BackupDocument {
  readonly id: string
  readonly state: string
  readonly format: string
  readonly key: string
  readonly tables: readonly { readonly name: string; readonly rows: number }[]
}
interface Restored {
  readonly result: { readonly tables: readonly { readonly name: string; readonly restoredRows: number; readonly match: boolean }[] }
}
interface Refused {
  readonly error: { readonly code: string; readonly message: string; readonly hints: readonly string[] }
}

describeWith('docker', 'dumps that need temporary space in a container', (engine) => {
  let container: TestContainer
  let env: Readonly<Record<string, string>>
  /** Holds one directory dump and one custom dump. */
  let room: TidemarkRoom
  let directory: BackupDocument
  let custom: BackupDocument

  const leftThere = async () => (await container.inside('find', '/tmp', '/small', '-name', 'tidemark-*')).split('\n').filter((path) => path !== '')
  const value = async (sql: string, database: string) => container.sql(sql, database)
  const working = (program: string) => container.sql(`SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'tidemark ${program}%'`)
  const processes = () => container.docker('top', container.name, '-o', 'pid,args')
  /** A room and what it says on the way. */
  const freshRoom = () => tidemarkRoom({ env })

  beforeAll(async () => {
    container = await startContainer(engine, { server: true, flags: ['--tmpfs', '/small:size=1m'] })
    env = { POSTGRES_CONTAINER: container.name, POSTGRES_DB: 'nexo', POSTGRES_USER: 'nexo_user', BACKUP_DIR: './backups', DOCKER_HOST: engine.host }
    await container.sql(`
      CREATE TABLE customers (id int PRIMARY KEY, name text);
      INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 3000) n;
      CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers, note text);
      INSERT INTO orders (customer, note) SELECT 1 + n % 3000, repeat(md5(n::text), 10) FROM generate_series(1, 40000) n;
      CREATE INDEX orders_by_customer ON orders (customer);
      CREATE TABLE nothing (id int);
      SELECT lo_from_bytea(0, convert_to(repeat('object ' || n, 1000), 'UTF8')) FROM generate_series(1, 20) n`)
    room = await freshRoom()
    directory = await room.json<BackupDocument>(['backup', '--format', 'directory', '--jobs', '2', '--name', 'in-files'])
    custom = await room.json<BackupDocument>(['backup', '--format', 'custom', '--name', 'in-one'])
  })
  afterAll(async () => {
    await room?.[Symbol.asyncDispose]()
    await container[Symbol.asyncDispose]()
  })
  beforeEach(async () => expect(await leftThere()).toEqual([]))

  it('a directory dump by several workers goes round: taken, read back, restored by several workers, proven, and nothing stays there', async () => {
    expect([directory.state, directory.format, directory.tables.find(({ name }) => name === 'orders')?.rows]).toEqual(['verified', 'directory', 40_000])
    expect(await readdir(join(room.repository, directory.key))).toEqual(expect.arrayContaining(['toc.dat', 'blobs.toc']))
    const test = await room.json<Restored>(['restore', directory.id, '--test', '--jobs', '2', '--validate', 'content'])
    expect(test.result.tables.map(({ name, restoredRows, match }) => [name, restoredRows, match])).toEqual(
      expect.arrayContaining([
        ['customers', 3000, true],
        ['orders', 40_000, true],
        ['nothing', 0, true],
      ]),
    )
    expect(await value('SELECT count(*) FROM pg_largeobject_metadata', 'nexo_restore_test')).toBe('20')
    expect((await room.json<{ proof: { outcome: string } }>(['drill', directory.id, '--server', 'same', '--jobs', '2'])).proof.outcome).toBe('proven')
    expect(await leftThere()).toEqual([])
    expect(await readdir(room.work)).toEqual([])
  })

  it('selected tables come out of a directory dump and out of a custom dump, with their indexes and nothing else', async () => {
    for (const backup of [directory, custom]) {
      const copy = `orders_of_${backup.format}`
      const { result } = await room.json<Restored>(['restore', backup.id, '--table', 'orders', '--as', copy])
      expect(result.tables).toEqual([expect.objectContaining({ name: 'orders', restoredRows: 40_000, match: true })])
      expect(await value(`SELECT count(*) FROM pg_index WHERE indrelid = 'orders'::regclass`, copy)).toBe('2')
      expect(await value(`SELECT coalesce(to_regclass('customers')::text, 'not there')`, copy)).toBe('not there')
      expect(await leftThere()).toEqual([])
    }
  })

  it('rows alone come back into a table that was emptied', async () => {
    await room.json(['restore', custom.id, '--as', 'emptied'])
    await value('DELETE FROM orders', 'emptied')
    for (const backup of [directory, custom]) {
      await room.json(['restore', backup.id, '--as', 'emptied', '--table', 'orders', '--data-only', '--truncate', '--yes'])
      expect(await value('SELECT count(*) FROM orders', 'emptied')).toBe('40000')
    }
  })

  it('too little space there is found before anything is dumped or restored, and the next command is named', async () => {
    await using other = await freshRoom()
    const small = { TIDEMARK_CONTAINER_WORK_DIR: '/small' }
    const refused = await other.json<Refused>(['backup', '--format', 'directory'], { exitCode: 1, env: small })
    expect(refused.error).toMatchObject({ code: 'space-low', hints: expect.arrayContaining([expect.stringContaining('--format custom')]) })
    expect(refused.error.message).toContain(`/small in container "${container.name}" has 1 MiB free`)
    expect((await other.json<{ backups: unknown[] }>(['list'])).backups).toEqual([])
    const restore = await room.json<Refused>(['restore', directory.id, '--as', 'no_room'], { exitCode: 1, env: small })
    expect(restore.error.code).toBe('space-low')
    expect(await value(`SELECT count(*) FROM pg_database WHERE datname = 'no_room'`, 'nexo')).toBe('0')
    await value('CREATE DATABASE treasured', 'nexo')
    const dropping = await room.json<Refused>(['restore', directory.id, '--as', 'treasured', '--drop-existing', '--yes'], { exitCode: 1, env: small })
    expect(dropping.error.code).toBe('space-low')
    expect(await value(`SELECT count(*) FROM pg_database WHERE datname = 'treasured'`, 'nexo')).toBe('1')
    // What needs no space there works all the same.
    await other.json(['backup', '--format', 'custom'], { env: small })
    await room.json(['restore', custom.id, '--as', 'room_enough'], { env: small })
  })

  it('a directory there that cannot be written to is named with the next command', async () => {
    await using other = await freshRoom()
    const refused = await other.json<Refused>(['backup', '--format', 'directory'], { exitCode: 2, env: { TIDEMARK_CONTAINER_WORK_DIR: '/proc' } })
    expect(refused.error).toMatchObject({
      code: 'config-invalid',
      message: expect.stringContaining(`/proc in container "${container.name}" cannot be used for temporary files`),
      hints: expect.arrayContaining([expect.stringContaining('TIDEMARK_CONTAINER_WORK_DIR=/')]),
    })
  })

  it('a killed run leaves its directory and its pg_dump there, and the next run ends both and says so', async () => {
    await using other = await freshRoom()
    await using held = await lockHeld(container, 'orders')
    const killed = other.start(['backup', '--format', 'directory', '--jobs', '2', '--json'])
    await expect.poll(() => working('pg_dump'), { timeout: 60_000 }).not.toBe('0')
    killed.child.kill('SIGKILL')
    await killed.end
    const [left = ''] = await leftThere()
    expect(left).toMatch(/^\/tmp\/tidemark-\d{8}-/)
    expect(await processes()).toContain(left)
    // Its lease ends by its process being gone; what it left in the container by this very run.
    const next = other.start(['backup', '--json', '--verbose'])
    await expect.poll(leftThere, { timeout: 60_000 }).toEqual([])
    await expect.poll(processes, { timeout: 30_000 }).not.toContain(left)
    await held[Symbol.asyncDispose]()
    const end = await next.end
    expect(end.exitCode, end.stderr).toBe(0)
    expect(end.stderr).toContain(`removed ${left} in container "${container.name}", which a run that was killed had left`)
  })

  it('whatever it was doing when it was killed, backup or restore, the next run takes its files away', async () => {
    const moments = [
      [['backup', '--format', 'directory', '--name', 'killed-in-tar'], '*" tar -cf "*'],
      [['restore', directory.id, '--as', 'killed_in_tar'], '*" tar -xof "*'],
      [['restore', directory.id, '--as', 'killed_in_load'], '*" pg_restore --no-password "*'],
      [['restore', custom.id, '--table', 'orders', '--as', 'killed_in_list'], '*" pg_restore --no-password "*'],
    ] as const
    for (const [args, when] of moments) {
      // Where docker would be called, its caller is killed.
      await using docker = await lyingDocker([{ when, instead: 'kill -9 $PPID' }])
      const { child, end } = room.start(args, { PATH: docker.path })
      await end
      expect([args, child.signalCode]).toEqual([args, 'SIGKILL'])
      expect(await leftThere(), args.join(' ')).not.toEqual([])
      await room.json(['restore', custom.id, '--test', '--drop'])
      expect(await leftThere(), args.join(' ')).toEqual([])
    }
  })

  it('Ctrl-C ends pg_dump there and removes its directory', async () => {
    await using other = await freshRoom()
    await using _held = await lockHeld(container, 'orders')
    const stopped = other.start(['backup', '--format', 'directory', '--jobs', '2', '--json'])
    await expect.poll(() => working('pg_dump'), { timeout: 60_000 }).not.toBe('0')
    expect(await leftThere()).toHaveLength(1)
    stopped.child.kill('SIGINT')
    expect((await stopped.end).exitCode).toBe(130)
    expect([await leftThere(), await working('pg_dump')]).toEqual([[], '0'])
    expect(await processes()).not.toContain('pg_dump')
  })

  it('a stream out of the container that is cut makes no backup, though docker and pg_dump report success', async () => {
    for (const instead of ['"$real" "$@" | head -c 20000', '"$real" "$@" | head -c -10240']) {
      await using docker = await lyingDocker([{ when: '*" tar -cf "*', instead }])
      await using other = await freshRoom()
      const failed = await other.json<Refused>(['backup', '--format', 'directory'], { exitCode: 1, env: { PATH: docker.path } })
      expect(failed.error).toMatchObject({ code: 'tool-failed', message: expect.stringContaining('could not be passed through container') })
      expect((await other.json<{ backups: unknown[] }>(['list'])).backups).toEqual([])
      expect(await leftThere()).toEqual([])
    }
  })

  it('a stream into the container that is cut makes no database, whatever the format', async () => {
    await room.json(['backup', '--format', 'plain', '--name', 'in-sql'])
    const cuts = [
      [directory.id, '*" tar -xof "*', 'head -c 20000 | "$real" "$@"; exit 0'],
      [custom.id, '*" pg_restore "*', 'head -c 200000 | "$real" "$@"'],
      // The cut that psql reports as a success: half of the rows, and then the end of its input.
      ['in-sql', '*" psql "*" --file=- "*', 'head -c 2000000 | "$real" "$@"'],
    ] as const
    for (const [backup, when, instead] of cuts) {
      await using docker = await lyingDocker([{ when, instead }])
      const failed = await room.run(['restore', backup, '--as', 'was_cut', '--validate', 'none', '--json'], { PATH: docker.path })
      expect([backup, failed.exitCode]).toEqual([backup, 1])
      expect(await value(`SELECT count(*) FROM pg_database WHERE datname = 'was_cut'`, 'nexo')).toBe('0')
    }
  })

  it('works by Compose service as by container name', async () => {
    // This machine has no Compose: a stand-in with its command line, whose services are the containers of the real engine.
    const compose = `#!/bin/sh
[ "$1" = version ] && exit 0
[ "$1 $3 $4" = "-f exec -T" ] || { echo "unknown: $*" >&2; exit 64; }
shift 4
exec docker exec -i "$@"
`
    await using docker = await lyingDocker([{ when: '"compose version"', instead: 'exit 1' }], { 'docker-compose': compose })
    await using other = await tidemarkRoom({
      env: { PATH: docker.path, DOCKER_HOST: engine.host },
      config: `clusters:
  nexo: { compose: { service: ${container.name}, files: compose.yml }, user: nexo_user, database: nexo, dump: { format: directory, jobs: 2 } }
repositories:
  local: { path: ./backups }
`,
    })
    const backup = await other.json<BackupDocument>(['backup'])
    expect([backup.state, backup.format]).toEqual(['verified', 'directory'])
    const { result } = await other.json<Restored>(['restore', backup.id, '--as', 'by_service', '--validate', 'content'])
    expect(result.tables.every(({ match }) => match)).toBe(true)
  })

  it('client programs there that cannot dump the server are named, with what to do', async () => {
    await using docker = await lyingDocker([{ when: '*"pg_dump --version"', instead: 'echo "pg_dump (PostgreSQL) 14.9"' }])
    await using other = await freshRoom()
    const refused = await other.json<Refused>(['backup', '--format', 'directory'], { exitCode: 1, env: { PATH: docker.path } })
    expect(refused.error).toMatchObject({
      code: 'tool-missing',
      message: expect.stringContaining('14.9 (container)'),
      hints: expect.arrayContaining([expect.stringContaining(`docker exec ${container.name} pg_dump --version`)]),
    })
  })
})

/** A session that keeps everybody else from a table until its scope ends. */
async function lockHeld(container: TestContainer, table: string): Promise<AsyncDisposable> {
  const name = 'holder of a lock'
  const ended = container
    .inside(
      'psql',
      '-X',
      '-U',
      'nexo_user',
      `--dbname=dbname=nexo application_name='${name}'`,
      '-c',
      'BEGIN',
      '-c',
      `LOCK TABLE ${table}`,
      '-c',
      'SELECT pg_sleep(300)',
    )
    .catch(() => undefined)
  const holders = `FROM pg_stat_activity WHERE application_name = '${name}'`
  await expect.poll(() => container.sql(`SELECT count(*) ${holders} AND wait_event = 'PgSleep'`)).toBe('1')
  return {
    [Symbol.asyncDispose]: async () => {
      await container.sql(`SELECT pg_terminate_backend(pid) ${holders}`)
      await ended
    },
  }
}
