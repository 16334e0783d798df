import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { startFakeS3 } from '../../test/support/fake-s3.ts'
import { patience } from '../../test/support/s3-storage.ts'
import { systemClock } from '../kernel/clock.ts'
import type { Event } from '../kernel/event.ts'
import { Secret } from '../kernel/secret.ts'
import { noise, readAll } from './conformance-tools.ts'
import { openStorage } from './open.ts'
import { quirksOf } from './quirks.ts'
import type { S3Settings } from './settings.ts'

let base: string
let events: Event[]
const context = { clock: systemClock, emit: (event: Event) => void events.push(event) }

beforeEach(async () => {
  events = []
  base = await mkdtemp(join(tmpdir(), 'tidemark-open-'))
})

afterEach(() => rm(base, { recursive: true, force: true }))

function s3(overrides: Partial<S3Settings> = {}): S3Settings {
  return {
    kind: 's3',
    bucket: 'backups',
    prefix: '',
    region: null,
    endpoint: 'http://127.0.0.1:1',
    forcePathStyle: true,
    accessKeyId: new Secret('FAKEKEY'),
    secretAccessKey: new Secret('canary-secret'),
    sessionToken: null,
    profile: null,
    storageClass: null,
    caFile: null,
    checksums: 'auto',
    multipartBytes: 5 * 1024 ** 2,
    ...overrides,
  }
}

describe('opening a storage', () => {
  it('gives a directory with the modes of the configuration', async () => {
    const path = join(base, 'repository')
    await using storage = await openStorage({ kind: 'posix', path, dirMode: 0o750, fileMode: 0o640, owner: null, group: null }, context, { bandwidth: 10 ** 9 })
    await storage.put('a/b', noise(10))
    expect((await stat(join(path, 'a/b'))).mode & 0o777).toBe(0o640)
    expect((await stat(join(path, 'a'))).mode & 0o777).toBe(0o750)
    expect(storage.localPath?.('a/b')).toBe(join(path, 'a/b'))
    await storage.setAlias?.('latest', 'a/b')
    expect((await readAll(storage, 'latest')).length).toBe(10)
  })

  it('gives a bucket, patient with its errors', async () => {
    await using fake = await startFakeS3()
    await using storage = await openStorage(s3({ endpoint: fake.endpoint }), context, { retry: patience })
    fake.fault({ times: 2, fault: { kind: 'error', status: 503, code: 'SlowDown' } })
    await storage.put('key', noise(10))
    expect([...fake.objects.keys()]).toEqual(['key'])
    expect(events.filter((event) => event.type === 'retry')).toHaveLength(2)
    expect(storage.location).toBe('s3://backups')
    expect(inspect(storage, { depth: 10 })).not.toContain('canary-secret')
  })

  it('asks the machine for new credentials once when those it had have expired', async () => {
    await using fake = await startFakeS3({ expiredTokens: new Set(['old']) })
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'FAKEKEY')
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'x')
    vi.stubEnv('AWS_SESSION_TOKEN', 'old')
    const renewing = { clock: systemClock, emit: (event: Event) => void (events.push(event), vi.stubEnv('AWS_SESSION_TOKEN', 'new')) }
    await using storage = await openStorage(s3({ endpoint: fake.endpoint, accessKeyId: null, secretAccessKey: null }), renewing, { retry: patience })
    await storage.put('key', noise(10))
    expect(events).toEqual([{ type: 'note', message: expect.stringContaining('expired') }])
    fake.abilities.expiredTokens.add('new')
    vi.stubEnv('AWS_SESSION_TOKEN', 'old')
    renewing.emit = (event) => void events.push(event)
    await expect(storage.put('key', noise(10))).rejects.toMatchObject({ code: 'storage-denied', message: expect.stringContaining('expired') })
  })

  it.each([
    ['half of the credentials', { secretAccessKey: null }, 'the secret access key is missing'],
    ['a CA bundle that is not there', { caFile: '/no/such/file' }, 'cannot read the CA bundle'],
    ['an endpoint that is a metadata service', { endpoint: 'http://169.254.169.254' }, 'where no storage is'],
    ['an endpoint with a password', { endpoint: 'https://user:canary@host' }, 'user name or password'],
  ] as const)('refuses %s', async (_, overrides, message) => {
    await expect(openStorage(s3(overrides), context)).rejects.toMatchObject({ code: 'config-invalid', message: expect.stringContaining(message) })
  })

  it('refuses a CA bundle without a certificate, and an owner that nobody knows', async () => {
    const caFile = join(base, 'ca.pem')
    await writeFile(caFile, 'nothing')
    await expect(openStorage(s3({ caFile }), context)).rejects.toMatchObject({ code: 'config-invalid' })
    await expect(
      openStorage({ kind: 'posix', path: base, dirMode: 0o700, fileMode: 0o600, owner: 'no-such-user', group: null }, context),
    ).rejects.toMatchObject({ code: 'config-invalid' })
    await expect(openStorage({ kind: 'posix', path: 'relative', dirMode: 0o700, fileMode: 0o600, owner: null, group: null }, context)).rejects.toMatchObject({
      code: 'config-invalid',
    })
  })

  it('warns when backups would travel in clear, but not within the machine', async () => {
    await openStorage(s3({ endpoint: 'http://minio.example:9000' }), context)
    expect(events).toEqual([{ type: 'warning', code: 'storage-unencrypted', message: expect.stringContaining('http://minio.example:9000') }])
    await openStorage(s3({ endpoint: 'http://127.0.0.1:9000' }), context)
    await openStorage(s3({ endpoint: 'https://minio.example:9000' }), context)
    expect(events).toHaveLength(1)
  })
})

describe('quirks', () => {
  it.each([
    [null, undefined, 'aws'],
    ['https://s3.eu-central-1.amazonaws.com', undefined, 'aws'],
    ['https://abc.r2.cloudflarestorage.com', undefined, 'r2'],
    ['https://storage.googleapis.com', undefined, 'gcs'],
    ['http://10.0.0.1:7480', 'Ceph Object Gateway (pacific)', 'ceph-16'],
    ['http://10.0.0.1:7480', 'Ceph Object Gateway (tentacle)', 'ceph'],
    ['http://10.0.0.1:9000', 'MinIO', 'minio'],
    ['https://evil-s3.amazonaws.com.example.org', undefined, 'unknown'],
    ['nonsense', undefined, 'unknown'],
  ])('of %s (%s) are those of %s', (endpoint, server, id) => {
    expect(quirksOf(endpoint, server).id).toBe(id)
  })
})
