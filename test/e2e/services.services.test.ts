import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { sharedCluster } from '../support/cluster.ts'
import { tidemarkRoom, urlOf } from '../support/tidemark-cli.ts'
import { describeWith } from '../support/services.ts'

const run = promisify(execFile)

interface BackupDocument {
  readonly id: string
  readonly state: string
  readonly key: string
  readonly repositories: readonly string[]
  readonly tables: readonly { readonly name: string; readonly rows: number }[]
}

describeWith('ceph', 'dumps in a real S3', (ceph) => {
  const prefix = `e2e-${randomBytes(4).toString('hex')}`
  const s3 = {
    S3_BUCKET_NAME: ceph.bucket,
    S3_REGION: 'us-east-1',
    BACKUP_S3_PREFIX: prefix,
    AWS_ENDPOINT_URL_S3: ceph.endpoint,
    AWS_ACCESS_KEY_ID: ceph.accessKeyId,
    AWS_SECRET_ACCESS_KEY: ceph.secretAccessKey,
  }

  it('go to S3 and a directory in one pass, and each copy restores alone with its content equal', async () => {
    const cluster = await sharedCluster(15)
    await using scratch = await cluster.createScratchDatabase()
    const database = scratch.name
    await using session = await cluster.session(database)
    await session.query(`CREATE TABLE things (id int PRIMARY KEY, words text)`)
    await session.query(`INSERT INTO things SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 20000) n`)
    await using room = await tidemarkRoom()
    const env = { ...s3, DATABASE_URL: urlOf({ ...cluster.target, database }), BACKUP_DIR: './backups' }

    const taken = await room.run(['backup', '--json'], env)
    expect(taken.exitCode, taken.stderr).toBe(0)
    const backup = taken.json<BackupDocument>()
    expect([backup.state, backup.repositories.toSorted()]).toEqual(['verified', ['local', 's3']])
    for (const repository of ['local', 's3']) {
      const restored = await room.run(['restore', backup.id, '--repo', repository, '--as', `${database}_${repository}`, '--validate', 'content', '--json'], env)
      expect(restored.exitCode, restored.stderr).toBe(0)
      expect(restored.json<{ result: { tables: { match: boolean; rows: number }[] } }>().result.tables).toEqual([
        expect.objectContaining({ match: true, rows: 20000 }),
      ])
    }
  })

  it('lie under daily/YYYY/MM/DD, are listed, verified, proven and deleted there', async () => {
    const cluster = await sharedCluster(15)
    await using scratch = await cluster.createScratchDatabase()
    const database = scratch.name
    await using session = await cluster.session(database)
    await session.query(`CREATE TABLE t AS SELECT n FROM generate_series(1, 100) n`)
    await using room = await tidemarkRoom()
    const env = { ...s3, BACKUP_S3_PREFIX: `${prefix}-tiered`, DATABASE_URL: urlOf({ ...cluster.target, database }) }
    const first = (await room.run(['backup', '--json'], env)).json<BackupDocument>()
    const second = (await room.run(['backup', '--json'], env)).json<BackupDocument>()
    expect(first.key).toMatch(/^daily\/\d{4}\/\d{2}\/\d{2}\/.+\.dump\.zst$/)
    expect((await room.run(['verify', '--all', '--json'], env)).exitCode).toBe(0)
    const drill = await room.run(['drill', second.id, '--server', 'same', '--json'], env)
    expect([drill.exitCode, drill.json<{ proof: { outcome: string } }>().proof.outcome]).toEqual([0, 'proven'])
    expect((await room.run(['delete', first.id, '--yes'], env)).exitCode).toBe(0)
    const left = (await room.run(['list', '--json'], env)).json<{ backups: BackupDocument[] }>().backups
    expect(left.map(({ id, state }) => [id, state])).toEqual([[second.id, 'proven']])
  })

  it('fail with the cause and no backup when the secret key is wrong', async () => {
    await using room = await tidemarkRoom()
    const cluster = await sharedCluster(15)
    const result = await room.run(['backup', '--json'], { ...s3, AWS_SECRET_ACCESS_KEY: 'canary-wrong-secret', DATABASE_URL: urlOf(cluster.target) })
    expect(result.exitCode).toBe(1)
    expect(result.json<{ error: { code: string } }>().error.code).toBe('storage-denied')
    expect(result.stdout + result.stderr).not.toContain('canary-wrong-secret')
  })
})

describeWith('docker', 'a database in a container, by its name alone', (engine) => {
  const name = `tidemark-e2e-${randomBytes(4).toString('hex')}`
  const docker = (...args: string[]) => run('docker', args, { env: { PATH: process.env['PATH'], DOCKER_HOST: engine.host } })
  const env = {
    POSTGRES_CONTAINER: name,
    POSTGRES_DB: 'nexo',
    POSTGRES_USER: 'nexo_user',
    BACKUP_DIR: './backups',
    BACKUP_COMPRESSION: '9',
    DOCKER_HOST: engine.host,
  }

  beforeAll(async () => {
    await docker(
      'run',
      '-d',
      '--name',
      name,
      '--network',
      'none',
      '-e',
      'POSTGRES_PASSWORD=canary-77aa',
      '-e',
      'POSTGRES_USER=nexo_user',
      '-e',
      'POSTGRES_DB=nexo',
      engine.image,
    )
    const asked = () => docker('exec', name, 'psql', '-w', '-U', 'nexo_user', '-d', 'nexo', '-h', '127.0.0.1', '-c', 'SELECT 1').then(String, String)
    while (!(await asked()).includes('password'));
    await docker(
      'exec',
      name,
      'psql',
      '-U',
      'nexo_user',
      '-d',
      'nexo',
      '-c',
      `CREATE TABLE users AS SELECT n AS id, 'user ' || n AS name FROM generate_series(1, 5000) n`,
    )
  })
  afterAll(() => docker('rm', '-f', name))

  it('is backed up as the seed scripts did, restored for a test, and proven', async () => {
    await using room = await tidemarkRoom()
    const taken = await room.run(['backup', '--json'], env)
    expect(taken.exitCode, taken.stderr).toBe(0)
    const backup = taken.json<BackupDocument & { fileName: string; container: string; format: string; compression: string }>()
    expect([backup.state, backup.container, backup.format, backup.compression]).toEqual(['verified', name, 'plain', 'gzip:9'])
    expect(backup.fileName).toMatch(/^nexo_\d{8}_\d{6}\.sql\.gz$/)

    const test = await room.run(['restore', '--test', '--json'], env)
    expect(test.exitCode, test.stderr).toBe(0)
    expect(test.json<{ result: { tables: unknown[] } }>().result.tables).toEqual([expect.objectContaining({ name: 'users', restoredRows: 5000, match: true })])

    const drill = await room.run(['drill', '--server', 'same', '--json'], env)
    expect(drill.exitCode, drill.stderr).toBe(0)
  })

  it('names the container and the way to start it when it does not run', async () => {
    await using room = await tidemarkRoom()
    const result = await room.run(['backup', '--json'], { ...env, POSTGRES_CONTAINER: 'tidemark-no-such-container' })
    expect(result.exitCode).toBe(1)
    expect(result.json<{ error: { code: string; hints: string[] } }>().error).toMatchObject({ code: 'container-not-running' })
  })
})

for (const major of [17, 18] as const) {
  describeWith(`clients${major}`, `PostgreSQL ${major}`, (clients) => {
    it('is backed up, proven and replaced with the client programs of its own major', async () => {
      const cluster = await sharedCluster(major)
      await using scratch = await cluster.createScratchDatabase()
      const database = scratch.name
      await using session = await cluster.session(database)
      await session.query(`CREATE TABLE accounts (id int PRIMARY KEY, balance numeric)`)
      await session.query(`INSERT INTO accounts SELECT n, n * 1.5 FROM generate_series(1, 1000) n`)
      await using room = await tidemarkRoom()
      const env = { DATABASE_URL: urlOf({ ...cluster.target, database }), TIDEMARK_PG_BIN: clients.binDir }
      const taken = await room.run(['backup', '--json'], env)
      expect(taken.exitCode, taken.stderr).toBe(0)
      const drill = await room.run(['drill', '--server', 'same', '--json'], env)
      expect([drill.exitCode, drill.json<{ proof: { outcome: string; problems: string[] } }>().proof]).toMatchObject([0, { outcome: 'proven', problems: [] }])
      await session.query('DELETE FROM accounts')
      await session[Symbol.asyncDispose]()
      const replaced = await room.run(['restore', 'latest', '--replace', '--yes', '--json'], env)
      expect(replaced.exitCode, replaced.stderr).toBe(0)
      await using after = await cluster.session(database)
      expect(await after.query('SELECT count(*)::int AS rows FROM accounts')).toEqual([{ rows: 1000 }])
    })
  })
}
