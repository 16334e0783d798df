import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from 'vitest'

/** What `test/services/with-services.sh` can start. */
export type ServiceName = 'ceph' | 'docker' | 'clients17' | 'clients18'

export interface CephGateway {
  readonly endpoint: string
  /** Exists and is empty when the run begins; shared by all tests, so use a prefix of your own. */
  readonly bucket: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

export interface DockerEngine {
  /** For DOCKER_HOST. There is no bridge: run containers with `--network host` (and a free port, as argument `-p N`) or `--network none`. */
  readonly host: string
  /** PostgreSQL 15 with its client programs; POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB as in the official image. */
  readonly image: string
}

export interface ClientPrograms {
  readonly major: number
  /** Directory of pg_dump, pg_restore, psql, pg_dumpall, pg_basebackup, pg_verifybackup; runs for any account. */
  readonly binDir: string
}

interface Services {
  readonly ceph: CephGateway
  readonly docker: DockerEngine
  readonly clients17: ClientPrograms
  readonly clients18: ClientPrograms
}

/** A service, or null where it does not run. */
export function findService<Name extends ServiceName>(name: Name): Services[Name] | null {
  const find: { readonly [Key in ServiceName]: () => Services[Key] | null } = {
    ceph: findCeph,
    docker: findDocker,
    clients17: () => clientPrograms(17),
    clients18: () => clientPrograms(18),
  }
  return find[name]()
}

function findCeph(): CephGateway | null {
  const {
    TIDEMARK_TEST_S3_ENDPOINT: endpoint,
    TIDEMARK_TEST_S3_BUCKET: bucket,
    TIDEMARK_TEST_S3_ACCESS_KEY: accessKeyId,
    TIDEMARK_TEST_S3_SECRET_KEY: secretAccessKey,
  } = process.env
  if (endpoint === undefined || bucket === undefined || accessKeyId === undefined || secretAccessKey === undefined) return null
  return { endpoint, bucket, accessKeyId, secretAccessKey }
}

function findDocker(): DockerEngine | null {
  const { TIDEMARK_TEST_DOCKER_HOST: host, TIDEMARK_TEST_DOCKER_IMAGE: image } = process.env
  return host === undefined || image === undefined ? null : { host, image }
}

/** The client programs of this major among TIDEMARK_TEST_PG_BIN and what Debian's packages installed. */
export function clientPrograms(major: number): ClientPrograms | null {
  const places = [...(process.env['TIDEMARK_TEST_PG_BIN'] ?? '').split(':').filter((place) => place !== ''), `/usr/lib/postgresql/${major}/bin`]
  for (const binDir of places) {
    if (existsSync(join(binDir, 'pg_dump')) && majorOf(binDir) === major) return { major, binDir }
  }
  return null
}

function majorOf(binDir: string): number {
  const printed = execFileSync(join(binDir, 'pg_dump'), ['--version'], { encoding: 'utf8', cwd: '/' })
  return Number(/\(PostgreSQL\) (\d+)/.exec(printed)?.[1])
}

/**
 * Tests that need a service. Without it they are skipped, with the reason in their name; where the service is expected
 * (TIDEMARK_EXPECT_SERVICES, as in CI) they fail instead. `scripts/test-summary.mjs` looks for `[needs …]`.
 */
export function describeWith<Name extends ServiceName>(name: Name, title: string, body: (service: Services[Name]) => void): void {
  const service = findService(name)
  if (service !== null) {
    describe(`${title} [needs ${name}]`, () => body(service))
    return
  }
  const expected = (process.env['TIDEMARK_EXPECT_SERVICES'] ?? '').split(',').includes(name)
  if (expected) throw new Error(`${title}: ${name} is expected here (TIDEMARK_EXPECT_SERVICES), and it does not run`)
  describe.skip(`${title} [needs ${name}] — skipped: ${name} does not run here; use make test-services`, () => body(absent(name)))
}

/** Stands in for a service while the names of skipped tests are collected. */
function absent<Name extends ServiceName>(name: Name): Services[Name] {
  return new Proxy({}, { get: (_target, key) => `${name}.${String(key)} is not there` }) as Services[Name]
}
