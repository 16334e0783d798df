import { spawn } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { discoverClientTools } from '../../src/postgres/client-tools.ts'
import { testRoom } from '../support/config-room.ts'
import { type ScratchDatabase, ownCluster, type TestCluster } from '../support/cluster.ts'
import { startFakeS3, type FakeS3 } from '../support/fake-s3.ts'
import { urlOf } from '../support/tidemark-cli.ts'

const root = resolve(import.meta.dirname, '../..')
const guide = readFileSync(join(root, 'docs/guide.md'), 'utf8')

/** A block of the guide that is marked to be run. */
interface Block {
  readonly line: number
  readonly script: string
  readonly exit: number
  readonly expected: RegExp | null
  readonly as: string | null
  readonly s3: boolean
}

/**
 * `<!-- run [exit=N] [expect=/…/] -->` before a shell block runs it with `sh -eu`; `run-as role:password` changes the role, `run-s3` gives a
 * bucket; `<!-- hidden: … -->` runs what readers need not see.
 */
function blocksOf(text: string): readonly Block[] {
  const marked = /^<!-- (?:hidden: (?<hidden>.*?)|run(?<s3>-s3)?(?:-as (?<as>\S+))?(?: exit=(?<exit>\d+))?(?: expect=\/(?<expected>.*)\/(?<flags>m?))?) -->\n(?:```sh\n(?<script>[\s\S]*?)```\n)?/gm
  return [...text.matchAll(marked)].map(({ index, groups = {} }) => {
    const script = groups['hidden'] ?? groups['script']
    if (script === undefined) throw new Error(`line ${lineOf(text, index)} is marked to be run and no shell block follows`)
    const { expected, flags } = groups
    return { line: lineOf(text, index), script, exit: Number(groups['exit'] ?? 0), expected: expected === undefined ? null : new RegExp(expected, flags), as: groups['as'] ?? null, s3: groups['s3'] !== undefined }
  })
}

const lineOf = (text: string, index: number): number => text.slice(0, index).split('\n').length

describe('the user guide', () => {
  let cluster: TestCluster
  let other: TestCluster
  let database: ScratchDatabase
  let s3: FakeS3
  let directory: string
  let env: Record<string, string>

  beforeAll(async () => {
    cluster = await ownCluster(15)
    other = await ownCluster(15)
    database = await cluster.createScratchDatabase('shop')
    await using session = await database.session()
    await session.query("CREATE TABLE orders AS SELECT n AS id, 'order ' || n AS note FROM generate_series(1, 5000) AS n")
    await session.query('ALTER TABLE orders ADD PRIMARY KEY (id)')
    await session.query('CREATE TABLE customers AS SELECT n AS id FROM generate_series(1, 100) AS n')
    s3 = await startFakeS3()
    directory = await mkdtemp(join(tmpdir(), 'tidemark-guide-'))
    const bin = join(directory, '.bin')
    await mkdir(bin)
    await symlink(join(root, 'bin/tidemark'), join(bin, 'tidemark'))
    const [tools] = await discoverClientTools({ path: process.env['PATH'] ?? '' })
    const { target } = database
    env = {
      PATH: [bin, join(process.execPath, '..'), tools?.directory ?? '', process.env['PATH'] ?? ''].join(':'),
      HOME: directory,
      XDG_CONFIG_HOME: join(directory, '.config'),
      TZ: 'UTC',
      LC_ALL: 'C.UTF-8',
      DATABASE_URL: urlOf(target),
      OTHER_SERVER_URL: urlOf(other.target),
      // For psql and createdb without a URL, as people have them in their shells.
      PGHOST: target.host ?? '',
      PGPORT: String(target.port),
      PGUSER: target.user,
      PGPASSWORD: target.password?.reveal() ?? '',
      PGDATABASE: 'postgres',
    }
  }, 180_000)

  afterAll(async () => {
    await s3[Symbol.asyncDispose]()
    await Promise.all([cluster.server[Symbol.asyncDispose](), other.server[Symbol.asyncDispose]()])
    await rm(directory, { recursive: true, force: true })
  })

  it('does what it says, command by command', { timeout: 300_000 }, async () => {
    const blocks = blocksOf(guide)
    expect(blocks.length).toBeGreaterThan(30)
    for (const block of blocks) {
      const { exitCode, output } = await runShell(block)
      const where = `docs/guide.md:${block.line}\n${block.script}\n${output}`
      expect(exitCode, where).toBe(block.exit)
      if (block.expected !== null) expect(output, where).toMatch(block.expected)
    }
  })

  it('would be caught when a command of it failed', async () => {
    const [block] = blocksOf('<!-- run -->\n```sh\ntidemark show no-such-backup --repo ./nowhere\necho reached\n```\n')
    if (block === undefined) throw new Error('the block was not found')
    const { exitCode, output } = await runShell(block)
    expect([exitCode, output.includes('reached')]).toEqual([10, false])
  })

  it('leaves the server as it found it, but for what it says it leaves', async () => {
    await using session = await cluster.session()
    const names = (await session.query<{ name: string }>(`SELECT datname AS name FROM pg_database WHERE NOT datistemplate`)).map(({ name }) => name)
    expect(names).not.toContain('never_made')
    expect(names.filter((name) => name.includes('_drill_') || name.includes('_restoring_'))).toEqual([])
  })

  async function runShell(block: Block): Promise<{ exitCode: number | null; output: string }> {
    const [role = '', password = ''] = block.as?.split(':') ?? []
    const roleUrl = block.as === null ? {} : { DATABASE_URL: urlOf({ ...database.target, user: role, password: { reveal: () => password } }) }
    const bucket = { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey, AWS_ENDPOINT_URL_S3: s3.endpoint }
    const child = spawn('sh', ['-euc', block.script], { cwd: directory, env: { ...env, ...roleUrl, ...(block.s3 ? bucket : {}) }, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text))
    const exitCode = await new Promise<number | null>((done, failed) => child.on('error', failed).on('close', done))
    return { exitCode, output }
  }
})

describe('the troubleshooting table', () => {
  /** Words of other programs, which Tidemark passes on. */
  const notOurs = ['query would be affected by row-level security policy', 'No such container']
  const source = globSync('src/**/*.ts', { cwd: root })
    .filter((file) => !file.endsWith('.test.ts'))
    .map((file) => readFileSync(join(root, file), 'utf8'))
    .join('\n')
  const messages = [...guide.slice(guide.indexOf('## Troubleshooting')).matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1] ?? '')
  /** Every literal piece between the dots is in the source. */
  const missingPieces = (message: string) =>
    message
      .split('…')
      .map((piece) => piece.trim())
      .filter((piece) => piece !== '' && !notOurs.includes(piece) && !source.includes(piece))

  it('quotes only messages that the program can give', () => {
    expect(messages.length).toBeGreaterThan(25)
    expect(messages.filter((message) => missingPieces(message).length > 0)).toEqual([])
    expect(missingPieces('the moon is … in the way')).not.toEqual([])
  })
})

describe('the configuration files that the guide shows', () => {
  const files = [...guide.matchAll(/```yaml\n((?:clusters|repositories):[\s\S]*?)```/g)].map((match) => match[1] ?? '')

  it.each(files)('can be used: %s', async (text) => {
    await using room = await testRoom({ 'tidemark.yaml': text })
    const settings = await room.load({ DATABASE_URL: 'postgres://u:p@h/shop', S3_SECRET: 's' })
    expect(settings.notActing).toEqual([])
    expect(Object.keys(settings.clusters).length).toBe(1)
  })

  it('would not pass with a key that does not exist', async () => {
    expect(files.length).toBeGreaterThan(2)
    await using room = await testRoom({ 'tidemark.yaml': 'clusters: { a: { url: "env:DATABASE_URL", dril: {} } }' })
    expect((await room.failure({ DATABASE_URL: 'postgres://u:p@h/shop' })).code).toBe('config-invalid')
  })
})

describe('links and file names in the documentation', () => {
  const pages = ['README.md', 'CODING.md', 'docs/guide.md', 'docs/design.md', 'docs/keys.md', 'docs/dependencies.md', ...globSync('docs/reference/*.md', { cwd: root })]

  it.each(pages)('%s points only at what is there', (page) => {
    const text = readFileSync(join(root, page), 'utf8').replaceAll(/```[\s\S]*?```/g, '')
    const broken = [...text.matchAll(/\]\(([^)\s]+)\)/g)]
      .map((match) => match[1] ?? '')
      .filter((link) => !/^https?:/.test(link))
      .filter((link) => {
        const [file = '', anchor] = link.split('#')
        const target = file === '' ? page : join(page, '..', file)
        const found = globSync(target, { cwd: root }).length > 0
        return !found || (anchor !== undefined && !anchorsOf(readFileSync(join(root, target), 'utf8')).includes(anchor))
      })
    expect(broken).toEqual([])
  })

  it('notices a heading that is not there', () => {
    expect(anchorsOf('## From Node\n### In place, and back again\n')).toEqual(['from-node', 'in-place-and-back-again'])
  })
})

/** As GitHub makes them. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map((match) => (match[1] ?? '').toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-'))
}
