import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { AdoptOutcome } from '../../src/api/adopt-files.ts'
import type { Diagnosis } from '../../src/api/doctor/diagnose.ts'
import type { StorageTest } from '../../src/api/test-repositories.ts'
import type { FakeS3 } from '../support/fake-s3.ts'
import { startFakeS3 } from '../support/fake-s3.ts'
import { sharedCluster } from '../support/cluster.ts'
import { tidemarkRoom, urlOf } from '../support/tidemark-cli.ts'

const credentials = (s3: FakeS3) => ({ AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey, AWS_ENDPOINT_URL_S3: s3.endpoint })
const place = (s3: FakeS3) => ({ ...credentials(s3), S3_BUCKET_NAME: s3.bucket, S3_REGION: 'us-east-1', BACKUP_S3_PREFIX: 'db' })

describe('a bucket', () => {
  it('is tried by repo test, and nothing stays in it', async () => {
    await using s3 = await startFakeS3()
    await using room = await tidemarkRoom()
    const end = await room.run(['repo', 'test', '--json'], place(s3))
    const [test] = end.json<{ storages: StorageTest[] }>().storages
    expect(test?.cases.filter((each) => !each.ok)).toEqual([])
    expect(end.exitCode).toBe(0)
    expect(s3.objects.size).toBe(0)
    expect(s3.uploads.size).toBe(0)
  })

  it('in which two writers can win is found by repo test and by doctor, and refused by init', async () => {
    await using s3 = await startFakeS3({ conditionalPut: 'ignored', conditionalComplete: 'ignored' })
    await using room = await tidemarkRoom()
    const test = await room.run(['repo', 'test', '--json'], place(s3))
    expect(test.exitCode).toBe(1)
    expect(test.json<{ storages: StorageTest[] }>().storages[0]?.conditionalCreate).toBe('unsupported')
    expect(test.json<{ error: object }>().error).toMatchObject({ code: 'storage-test-failed', exitCode: 1 })
    const { target } = await sharedCluster(15)
    const doctor = await room.run(['doctor', '--json'], { ...place(s3), DATABASE_URL: urlOf(target) })
    expect(doctor.exitCode).toBe(1)
    expect(doctor.json<Diagnosis>().findings.find((finding) => finding.check === 'conditional-create')?.severity).toBe('fail')
    const init = await room.run(['init', '--yes'], { ...place(s3), DATABASE_URL: urlOf(target) })
    expect(init.exitCode).not.toBe(0)
    expect(await readdir(room.directory)).toEqual(['work'])
  })

  it('that refuses our credentials is a failure with its cause, not a long list of broken promises', async () => {
    await using s3 = await startFakeS3()
    await using room = await tidemarkRoom()
    const end = await room.run(['repo', 'test', '--json'], { ...place(s3), AWS_ACCESS_KEY_ID: 'somebody-else' })
    const [test] = end.json<{ storages: StorageTest[] }>().storages
    expect(end.exitCode).toBe(1)
    expect(test?.cases).toHaveLength(1)
  })

  it('is set up by init without its keys getting into the file, and takes in old dumps as copies', async () => {
    await using s3 = await startFakeS3()
    await using room = await tidemarkRoom()
    const { target } = await sharedCluster(15)
    const env = { ...credentials(s3), DATABASE_URL: urlOf(target) }
    const init = await room.run(
      ['init', '--yes', '--name', 'nexo', '--s3', `s3://${s3.bucket}/db`, '--s3-region', 'us-east-1', '--s3-endpoint', s3.endpoint],
      env,
    )
    expect(init.stderr).not.toContain('✗')
    expect(init.exitCode).toBe(0)
    const yaml = await readFile(join(room.directory, 'tidemark.yaml'), 'utf8')
    expect(yaml).toContain(s3.bucket)
    expect(yaml).not.toContain(s3.secretAccessKey)
    await writeFile(join(room.directory, 'nexo_20260120_143000.sql'), await readFile(join(import.meta.dirname, '../fixtures/dump/pg15.sql')))
    const adopted = await room.run(['repo', 'adopt', '.', '--yes', '--json'], env)
    expect(adopted.exitCode).toBe(0)
    expect(adopted.json<AdoptOutcome>().adopted.map((backup) => backup.key)).toEqual(['nexo_20260120_143000.sql'])
    expect([...s3.objects.keys()]).toContain('db/nexo_20260120_143000.sql')
    expect((await room.run(['verify', '--all'], env)).exitCode).toBe(0)
    // The place of the object is a way to name the backup; a place that holds none is no local path.
    const shown = await room.run(['show', `s3://${s3.bucket}/db/nexo_20260120_143000.sql`, '--json'], env)
    expect(shown.json<{ id: string }>().id).toBe(adopted.json<AdoptOutcome>().adopted[0]?.id)
    expect((await room.run(['verify', `s3://${s3.bucket}/db/nexo_20260120_143000.sql`], env)).exitCode).toBe(0)
    expect((await room.run(['verify', `s3://${s3.bucket}/db/none.sql`, '--json'], env)).json<{ error: object }>().error).toMatchObject({
      code: 'backup-missing',
    })
    expect((await room.run(['verify', `s3://${s3.bucket}/other/nexo_20260120_143000.sql`], env)).exitCode).toBe(2)
  })
})
