/**
 * Base backups and their restores against pg_basebackup and, where it is installed, pgBackRest, on one server in one run:
 * `node bench/base.ts [--megabytes 2700] [--rounds 3] [--only full|incr|idle|restore] [--bin /usr/lib/postgresql/15/bin] [--pgbackrest /usr/bin/pgbackrest] [--keep]`.
 *
 * Every contestant ends durable. pgBackRest is given what the newest versions are fastest and smallest with: two processes, zstd-3, bundles and block incremental where it knows them.
 */
import { spawnSync } from 'node:child_process'
import { chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openLab, type Contest, type Contestant } from './lab.ts'

const { values: options } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    bin: { type: 'string', default: '/usr/lib/postgresql/15/bin' },
    pgbackrest: { type: 'string', default: '/usr/bin/pgbackrest' },
    directory: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
})

using lab = await openLab({ ...options, rounds: Number(options.rounds), settings: { archive_mode: 'on', archive_command: '/bin/true' } })
await lab.load(Number(options.megabytes) * 1e6)
const peer = existsSync(options.pgbackrest) ? preparePeer() : null
console.log(
  `cluster ${lab.psql('bench', 'select pg_size_pretty(sum(pg_database_size(oid))) from pg_database')}, PostgreSQL ${lab.psql('bench', 'show server_version')}, ${peer?.version ?? 'no pgBackRest'}; seconds, CPU s of the client side, MB stored`,
)
if ('full'.startsWith(options.only)) lab.compete(fullContest())
if ('idle'.startsWith(options.only)) lab.compete(incrementalContest('incremental, nothing changed', () => undefined))
if ('incr'.startsWith(options.only)) lab.compete(incrementalContest('incremental after 20,000 transactions and an update of 5 %', change))
if ('restore'.startsWith(options.only)) lab.compete(restoreContest())

interface Peer {
  readonly version: string
  readonly command: string
  fresh(): void
}

/** A stanza of pgBackRest, whose files belong to the server's account. */
function preparePeer(): Peer {
  const repository = join(lab.out, 'pgbackrest')
  const configuration = join(lab.out, 'pgbackrest.conf')
  const version = spawnSync(options.pgbackrest, ['version']).stdout.toString().trim()
  const isNew = Number(/(\d+\.\d+)/.exec(version)?.[1] ?? 0) >= 2.46
  writeFileSync(
    configuration,
    [
      '[global]',
      `repo1-path=${repository}`,
      ...['log-path', 'lock-path', 'spool-path'].map((name) => `${name}=${lab.out}`),
      'log-level-file=off',
      'log-level-console=warn',
      'process-max=2',
      'start-fast=y',
      'repo1-retention-full=9999',
      'archive-check=n',
      'compress-type=zst',
      'compress-level=3',
      ...(isNew ? ['repo1-bundle=y', 'repo1-block=y'] : []),
      '[bench]',
      `pg1-path=${lab.data}`,
      `pg1-port=${lab.port}`,
      `pg1-socket-path=${lab.sockets}`,
      'pg1-database=postgres',
      '',
    ].join('\n'),
  )
  chownSync(configuration, lab.account.uid, lab.account.gid)
  const command = `setpriv --reuid ${lab.account.uid} --regid ${lab.account.gid} --clear-groups "${options.pgbackrest}" --config="${configuration}" --stanza=bench`
  return {
    version,
    command,
    fresh: () => {
      rmSync(repository, { recursive: true, force: true })
      mkdirSync(repository)
      chownSync(repository, lab.account.uid, lab.account.gid)
      lab.run({ name: 'stanza-create', script: `${command} stanza-create --no-online` })
    },
  }
}

function fullContest(): Contest {
  const full = (name: string, flags: string): Contestant => ({
    name,
    script: `"${lab.tidemark}" backup --quiet --type full ${flags}`,
    before: () => lab.freshRepository(),
    leaves: 'repository',
  })
  return {
    title: 'full',
    contestants: [
      full('tidemark full, direct', '--no-verify --reader direct'),
      full('tidemark full, streamed', '--no-verify --reader stream'),
      full('tidemark full, direct, verified', '--reader direct'),
      {
        name: 'pg_basebackup -Ft zstd:3 workers=2',
        script: 'rm -rf bb && pg_basebackup -D bb -Ft -c fast -X fetch --compress=client-zstd:level=3,workers=2',
        leaves: 'bb',
      },
      ...(peer === null ? [] : [{ name: 'pgbackrest full', script: `${peer.command} --type=full backup`, before: peer.fresh, leaves: 'pgbackrest/backup' }]),
    ],
  }
}

/** Between a full backup and the incremental one that is timed. */
function change(): void {
  lab.run({ name: 'pgbench', script: 'pgbench -n -c 2 -t 10000 bench' })
  lab.psql('bench', `update documents set title = title || '.' where id % 20 = 0`)
}

function incrementalContest(title: string, between: () => void): Contest {
  const ours = (name: string, flags: string): Contestant => ({
    name,
    script: `"${lab.tidemark}" backup --quiet --type incr --no-verify ${flags} --json > incr.json`,
    before: () => {
      lab.freshRepository()
      lab.run({ name: 'full', script: `"${lab.tidemark}" backup --quiet --type full --no-verify` })
      between()
    },
  })
  return {
    title,
    contestants: [
      ours('tidemark incr, direct', '--reader auto'),
      ours('tidemark incr, streamed', '--reader stream'),
      ...(peer === null
        ? []
        : [
            {
              name: 'pgbackrest incr',
              script: `${peer.command} --type=incr backup`,
              before: () => {
                peer.fresh()
                lab.run({ name: 'full', script: `${peer.command} --type=full backup` })
                between()
              },
            },
          ]),
    ],
  }
}

function restoreContest(): Contest {
  lab.freshRepository()
  lab.run({ name: 'full', script: `"${lab.tidemark}" backup --quiet --type full --no-verify --reader stream` })
  if (peer !== null) {
    peer.fresh()
    lab.run({ name: 'full', script: `${peer.command} --type=full backup` })
  }
  const empty = (): void => rmSync(join(lab.out, 'copy'), { recursive: true, force: true })
  const emptyOwned = (): void => {
    empty()
    mkdirSync(join(lab.out, 'copy'), { mode: 0o700 })
    chownSync(join(lab.out, 'copy'), lab.account.uid, lab.account.gid)
  }
  return {
    title: 'restore',
    contestants: [
      { name: 'tidemark restore --into', script: `"${lab.tidemark}" restore latest --into copy --quiet`, before: empty },
      { name: 'tidemark restore --into --delta, unchanged', script: `"${lab.tidemark}" restore latest --into copy --delta --quiet --yes` },
      ...(peer === null ? [] : [{ name: 'pgbackrest restore', script: `${peer.command} --pg1-path="${join(lab.out, 'copy')}" restore`, before: emptyOwned }]),
    ],
  }
}
