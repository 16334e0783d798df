import { execFile } from 'node:child_process'
import { createServer } from 'node:net'
import { promisify } from 'node:util'
import { CreateMultipartUploadCommand, GetObjectCommand, PutObjectCommand, S3Client, AbortMultipartUploadCommand } from '@aws-sdk/client-s3'
import { expect, it } from 'vitest'
import { sharedCluster } from '../support/cluster.ts'
import { type ClientPrograms, describeWith } from '../support/services.ts'

const run = promisify(execFile)

describeWith('ceph', 'the S3 gateway', (ceph) => {
  const client = () =>
    new S3Client({
      endpoint: ceph.endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      credentials: { accessKeyId: ceph.accessKeyId, secretAccessKey: ceph.secretAccessKey },
    })

  it('gives back what was put, so that a failing backup test is about the backup', async () => {
    const s3 = client()
    await s3.send(new PutObjectCommand({ Bucket: ceph.bucket, Key: 'services/one', Body: 'tide' }))
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: ceph.bucket, Key: 'services/one' }))
    expect(await Body?.transformToString()).toBe('tide')
    await expect(s3.send(new GetObjectCommand({ Bucket: ceph.bucket, Key: 'services/none' }))).rejects.toThrow()
  })

  it('refuses a second object of the same name when asked to, and begins multipart uploads', async () => {
    const s3 = client()
    const once = () => s3.send(new PutObjectCommand({ Bucket: ceph.bucket, Key: `services/once-${process.pid}`, Body: 'x', IfNoneMatch: '*' }))
    await once()
    await expect(once()).rejects.toMatchObject({ $metadata: { httpStatusCode: 412 } })
    const upload = { Bucket: ceph.bucket, Key: 'services/parts' }
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand(upload))
    await s3.send(new AbortMultipartUploadCommand({ ...upload, UploadId }))
  })
})

describeWith('docker', 'the Docker engine', (docker) => {
  const command = (...args: string[]) => run('docker', args, { env: { PATH: process.env['PATH'], DOCKER_HOST: docker.host } })

  it('runs PostgreSQL in a container that answers on a port and to docker exec', async () => {
    const port = await freePort()
    const { stdout } = await command(
      'run',
      '-d',
      '--network',
      'host',
      '-e',
      'POSTGRES_PASSWORD=tide',
      '-e',
      'POSTGRES_USER=nexo_user',
      '-e',
      'POSTGRES_DB=nexo',
      docker.image,
      '-p',
      String(port),
    )
    const container = stdout.trim()
    try {
      await expect
        .poll(() => command('exec', container, 'pg_isready', '-h', '127.0.0.1', '-p', String(port)).then(({ stdout: text }) => text.trim(), String), {
          timeout: 60_000,
        })
        .toContain('accepting')
      const dump = await command('exec', container, 'pg_dump', '-p', String(port), '-U', 'nexo_user', 'nexo')
      expect(dump.stdout).toContain('PostgreSQL database dump complete')
      await expect(command('exec', container, 'pg_dump', '-p', String(port), '-U', 'nexo_user', 'absent')).rejects.toMatchObject({ code: 1 })
    } finally {
      await command('rm', '-f', container)
    }
  })
})

describeWith('clients17', 'PostgreSQL 17 client programs', dumpsItsOwnMajor)
describeWith('clients18', 'PostgreSQL 18 client programs', dumpsItsOwnMajor)

function dumpsItsOwnMajor(clients: ClientPrograms): void {
  it('dump a server of their major, and refuse to connect to none', async () => {
    const cluster = await sharedCluster(clients.major)
    const { host, port, user, password } = cluster.target
    const env = { PATH: '/usr/bin:/bin', PGPASSWORD: password?.reveal() ?? '' }
    const { stdout } = await run(`${clients.binDir}/pg_dump`, ['-h', String(host), '-p', String(port), '-U', user, 'postgres'], { env, cwd: '/' })
    expect(stdout).toContain(`-- Dumped by pg_dump version ${clients.major}.`)
    await expect(run(`${clients.binDir}/pg_dump`, ['-h', '127.0.0.1', '-p', '1', 'postgres'], { env, cwd: '/' })).rejects.toMatchObject({ code: 1 })
  })
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
