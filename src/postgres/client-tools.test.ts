import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { chooseClientTools, type ClientTools, discoverClientTools, parseToolVersion } from './client-tools.ts'
import { callInContainer, containerFailure } from './container.ts'
import { maskSecrets } from './mask.ts'
import { Secret } from '../kernel/secret.ts'

function tools(version: string, directory = `/usr/lib/postgresql/${Number.parseInt(version)}/bin`): ClientTools {
  const major = Number.parseInt(version)
  const one = (name: 'pg_dump' | 'pg_restore' | 'psql') => ({ name, path: `${directory}/${name}`, version, major, container: null })
  return { major, version, directory, container: null, programs: { pg_dump: one('pg_dump'), pg_restore: one('pg_restore'), psql: one('psql') } }
}

const all = [tools('13.20'), tools('16.4'), tools('16.10', '/opt/bin'), tools('18.1'), tools('17.2')]
const dump = (serverMajor: number, found = all) => chooseClientTools(found, { serverMajor, purpose: 'dump' }).tools.version
const restore = (serverMajor: number, archiveMajor: number, found = all) =>
  chooseClientTools(found, { serverMajor, purpose: 'restore', archiveMajor }).tools.version

describe('the choice of client programs', () => {
  it('dumps with the major of the server, and its newest minor', () => expect(dump(16)).toBe('16.10'))
  it('dumps with the lowest newer major when that one is absent', () => expect([dump(14), dump(15)]).toEqual(['16.10', '16.10']))
  it('never dumps with an older one, which would refuse, and names the package', () => {
    expect(() => dump(18, [tools('15.9'), tools('17.2')])).toThrow(
      expect.objectContaining({
        code: 'tool-missing',
        message: expect.stringContaining('pg_dump 18 or newer; found: 15.9'),
        hints: expect.arrayContaining(['sudo apt-get install postgresql-client-18']),
      }),
    )
    expect(() => dump(16, [])).toThrow('none is installed')
  })
  it('restores with the major of the target when it reads the archive', () => expect(restore(16, 15)).toBe('16.10'))
  it('restores a newer archive with a newer program', () => expect([restore(13, 16), restore(16, 18)]).toEqual(['16.10', '17.2']))
  it('restores with an older program that reads the archive rather than not at all', () => expect(restore(18, 13, [tools('13.20')])).toBe('13.20'))
  it('refuses an archive that nothing here can read', () => expect(() => restore(18, 18, [tools('16.4')])).toThrow('restore an archive of pg_dump 18'))
  it('wants all programs in one place', () => {
    const half = { ...tools('16.4'), programs: { psql: tools('16.4').programs.psql } } as ClientTools
    expect(() => dump(16, [half])).toThrow('none is installed')
  })
  it.each([
    ['pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n', { version: '15.14', major: 15 }],
    ['psql (PostgreSQL) 18beta1', { version: '18beta1', major: 18 }],
    ['pg_dump (EnterpriseDB) 15.1', null],
  ])('reads the version of %j', (line, version) => expect(parseToolVersion(line)).toEqual(version))
})

describe('the search for client programs', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tidemark-tools-'))
    const program = async (name: string, script: string) => {
      await writeFile(join(directory, name), `#!/bin/sh\n${script}\n`)
      await chmod(join(directory, name), 0o755)
    }
    await program('pg_dump', 'echo "pg_dump (PostgreSQL) 16.4"')
    await program('psql', 'exit 3')
    await program('pg_wrapper', 'echo "pg_restore (PostgreSQL) 16.4"')
    await symlink('pg_wrapper', join(directory, 'pg_restore'))
    await writeFile(join(directory, 'pg_dumpall'), 'not executable')
  })
  afterAll(() => rm(directory, { recursive: true }))

  it('takes what answers with a version, and neither wrappers nor broken programs', async () => {
    const found = await discoverClientTools({ path: '', extraDirs: [directory] })
    expect(found[0]).toMatchObject({ major: 16, version: '16.4', directory })
    expect(Object.keys(found[0]?.programs ?? {})).toEqual(['pg_dump'])
  })
  it('looks in PATH, ignores relative entries, and lists a directory once', async () => {
    const found = await discoverClientTools({ path: `.:${directory}:/nowhere:${directory}` })
    expect(found.filter((tools) => tools.directory === directory)).toHaveLength(1)
  })
})

describe('a call into a container', () => {
  const docker = { environment: { PATH: '/bin', DOCKER_HOST: 'unix:///d', SECRET_OF_OURS: 'x' } }
  it('names the password and never carries its value in an argument', () => {
    const call = callInContainer(
      { container: { kind: 'container', name: 'nexo-postgres' }, docker },
      { command: ['psql', '-X'], environment: { PGAPPNAME: 'a b' }, secret: { PGPASSWORD: 'canary' }, stdin: true },
    )
    expect(call).toEqual({
      program: 'docker',
      args: ['exec', '-i', '-e', 'PGAPPNAME=a b', '-e', 'PGPASSWORD', 'nexo-postgres', 'psql', '-X'],
      environment: { PATH: '/bin', DOCKER_HOST: 'unix:///d', PGPASSWORD: 'canary' },
    })
  })
  it('goes through compose without a terminal, with the plugin or docker-compose', () => {
    const container = { kind: 'compose', service: 'db', files: ['/a.yml', '/b.yml'], project: 'p' } as const
    expect(callInContainer({ container, docker }, { command: ['psql'] })).toMatchObject({
      program: 'docker',
      args: ['compose', '-f', '/a.yml', '-f', '/b.yml', '-p', 'p', 'exec', '-T', 'db', 'psql'],
    })
    expect(callInContainer({ container, docker: { ...docker, composeProgram: 'docker-compose' } }, { command: ['psql'] })).toMatchObject({
      program: 'docker-compose',
      args: ['-f', '/a.yml', '-f', '/b.yml', '-p', 'p', 'exec', '-T', 'db', 'psql'],
    })
  })
  it.each([
    ['Error response from daemon: No such container: x', 1, 'container-not-running'],
    ['Error response from daemon: container 1a is not running', 1, 'container-not-running'],
    ['service "db" is not running', 1, 'container-not-running'],
    ['Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?', 1, 'tool-failed'],
    ['OCI runtime exec failed: exec failed: exec: "psql": executable file not found in $PATH', 127, 'tool-missing'],
    ['psql: error: something else', 2, undefined],
  ])('%s', (stderr, exitCode, code) => expect(containerFailure({ kind: 'container', name: 'x' }, exitCode, stderr)?.code).toBe(code))
})

it.each([
  ['the password hunter2:x is here', 'the password *** is here'],
  ['connecting to postgresql://u:other@h/d', 'connecting to postgresql://u:***@h/d'],
  [`ALTER ROLE a PASSWORD 'it''s' VALID`, `ALTER ROLE a PASSWORD '***' VALID`],
  ['SCRAM-SHA-256$4096:a+b/c=$d=:e/f= end', '*** end'],
  ['md50123456789abcdef0123456789abcdef', '***'],
  ['nothing secret', 'nothing secret'],
])('a secret is masked: %s', (line, masked) => expect(maskSecrets(line, [new Secret('hunter2:x'), null, new Secret('')])).toBe(masked))

it.each([
  ['r', 'pg_dump: error: permission denied, password r', 'pg_dump: error: permission denied, password ***'],
  ['postgres', 'role "postgres", /usr/lib/postgresql/15/bin', 'role "***", /usr/lib/postgresql/15/bin'],
  ['s3cretlongword', 'xs3cretlongwordy', 'x***y'],
  ['a.b', 'xa.bx xaxbx', 'x***x xaxbx'],
])('a password %s garbles no word that it is only part of', (password, line, masked) => expect(maskSecrets(line, [new Secret(password)])).toBe(masked))
