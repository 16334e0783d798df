/**
 * `tidemark backup` and `tidemark restore` against what people do by hand, on one server in one run:
 * `node bench/dump.ts [--megabytes 1000] [--rounds 3] [--only backup|restore] [--bin /usr/lib/postgresql/15/bin] [--keep]`.
 *
 * Every contestant ends durable: the stock ones with `sync FILE`, as Tidemark fsyncs what it stores.
 */
import { parseArgs } from 'node:util'
import { openLab, type Contest, type Contestant } from './lab.ts'

const { values: options } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    bin: { type: 'string', default: '/usr/lib/postgresql/15/bin' },
    directory: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
})

using lab = await openLab({ ...options, rounds: Number(options.rounds) })
await lab.load(Number(options.megabytes) * 1e6)
console.log(
  `database ${lab.psql('bench', "select pg_size_pretty(pg_database_size('bench'))")}, PostgreSQL ${lab.psql('bench', 'show server_version')}; seconds, CPU s of the client side, MB stored`,
)
if ('backup'.startsWith(options.only)) lab.compete(backupContest())
if ('restore'.startsWith(options.only)) lab.compete(restoreContest())

function backupContest(): Contest {
  const backup = (name: string, flags: string): Contestant => ({
    name,
    script: `"${lab.tidemark}" backup --quiet ${flags}`,
    // A repository is tried once, when it is made; a backup finds one.
    before: () => lab.freshRepository(),
    leaves: 'repository',
  })
  return {
    title: 'backup',
    contestants: [
      backup('tidemark backup --no-verify --compress zstd:1', '--no-verify --compress zstd:1'),
      backup('tidemark backup --compress zstd:1 (verified)', '--compress zstd:1'),
      backup('tidemark backup --no-verify --compress zstd:3', '--no-verify --compress zstd:3'),
      { name: 'pg_dump | gzip -9', script: 'pg_dump bench | gzip -9 > p.sql.gz && sync p.sql.gz', leaves: 'p.sql.gz', once: true },
      { name: 'pg_dump -Fc -Z0 | zstd -1 -T0', script: 'pg_dump -Fc -Z0 bench | zstd -q -1 -T0 > c.dump.zst && sync c.dump.zst', leaves: 'c.dump.zst' },
    ],
  }
}

function restoreContest(): Contest {
  const file = 'restore.dump'
  lab.run({ name: 'pg_dump', script: `pg_dump -Fc bench > ${file}` })
  lab.freshRepository()
  try {
    lab.run({ name: 'backup', script: `"${lab.tidemark}" backup --quiet --no-verify --compress zstd:1` })
  } catch (error) {
    console.log(`no backup to restore: ${error instanceof Error ? error.message : String(error)}`)
    process.exitCode = 1
  }
  const fresh = (create: boolean) => () => {
    lab.psql('postgres', 'drop database if exists bench_r')
    if (create) lab.psql('postgres', 'create database bench_r')
    lab.psql('postgres', 'checkpoint')
  }
  return {
    title: 'restore',
    contestants: [
      {
        name: 'tidemark restore --jobs 2 --validate none',
        script: `"${lab.tidemark}" restore latest --as bench_r --jobs 2 --validate none --quiet --yes`,
        before: fresh(false),
      },
      { name: 'tidemark restore --jobs 2', script: `"${lab.tidemark}" restore latest --as bench_r --jobs 2 --quiet --yes`, before: fresh(false) },
      { name: 'pg_restore -j2', script: `pg_restore -j2 -d bench_r ${file}`, before: fresh(true) },
    ],
  }
}
