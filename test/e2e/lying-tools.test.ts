import { mkdtemp, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Backup } from '../../src/repository/backup.ts'
import { sharedCluster } from '../support/cluster.ts'
import { openShop, type Shop } from '../support/shop.ts'
import { debianClients } from '../support/stock-tools.ts'

/**
 * Client programs that fail or say "ok" without having done the work. The dump is real, from a real server; only the program between is not what
 * it should be, as when a disk is full, memory runs out or somebody's wrapper stands in the way.
 */

let shop: Shop
beforeAll(async () => {
  shop = await openShop(await sharedCluster(15))
})
afterAll(() => shop[Symbol.asyncDispose]())

/** A directory of client programs in which `liar` is a script; `$real` is the real one. All are of a version that wins over the machine's own. */
async function toolsWith(liar: string, script: string): Promise<{ TIDEMARK_PG_BIN: string }> {
  const directory = await mkdtemp(join(shop.room.directory, `bin-${liar}-`))
  for (const name of ['pg_dump', 'pg_restore', 'psql', 'pg_dumpall']) {
    const real = `real=${join(debianClients, name)}\ncase "$*" in *--version*) "$real" --version | sed 's/15\\.[0-9]*/15.99/'; exit ;; esac`
    await writeFile(join(directory, name), `#!/bin/bash\n${real}\n${name === liar ? script : 'exec "$real" "$@"'}\n`, { mode: 0o755 })
  }
  return { TIDEMARK_PG_BIN: directory }
}

async function expectNothingKept(): Promise<void> {
  const names = await readdir(shop.room.repository).catch(() => [])
  expect(names.filter((name) => !name.startsWith('.tidemark'))).toEqual([])
  expect((await shop.room.json<{ backups: Backup[] }>(['list'])).backups).toEqual([])
}

interface Failed {
  error: { code: string; message: string; hints: string[] }
}

describe('a pg_dump that', () => {
  test.each([
    ['says nothing and ends well', 'exit 0', ['dump-empty', 'integrity']],
    ['loses its last kilobyte and ends well', '"$real" "$@" | head -c -1024; exit 0', ['dump-empty', 'integrity']],
    ['loses its last bytes and ends well', '"$real" "$@" | head -c -10; exit 0', ['dump-empty', 'integrity']],
    ['stops in the middle and ends well', '"$real" "$@" | head -c 3000; exit 0', ['dump-empty', 'integrity']],
    ['writes everything and fails', '"$real" "$@"; echo "pg_dump: error: out of luck" >&2; exit 1', ['tool-failed']],
    ['fails at once', 'echo "pg_dump: error: could not write to output file: No space left on device" >&2; exit 1', ['space-low']],
    ['is killed', '"$real" "$@" | head -c 2000; kill -9 $$', ['tool-failed']],
    ['writes something else', 'echo "this is no archive"; exit 0', ['dump-empty', 'integrity']],
    ['writes everything twice', '"$real" "$@"; "$real" "$@"', ['dump-empty', 'integrity']],
    ['writes more than its archive', '"$real" "$@"; echo; echo "SELECT 1;"', ['dump-empty', 'integrity']],
  ])('%s: no backup, a failure, and nothing is left', async (_name, script, codes) => {
    // Where bytes are missing, what is missing is another thing for plain SQL; elsewhere the format makes no difference.
    const formats = script.includes('head') || script.includes('"$@"; "$real"') ? ['custom', 'plain'] : ['custom']
    for (const format of formats) {
      const end = await shop.room.run(['backup', '--json', '--format', format], await toolsWith('pg_dump', script))
      const { error } = end.json<Failed>()
      expect({ format, exit: end.exitCode === 1 || end.exitCode === 13, code: codes.includes(error.code) ? true : end.stdout }).toEqual({
        format,
        exit: true,
        code: true,
      })
      await expectNothingKept()
    }
  })

  test('leaves a table out without saying so: the table is named, and the exit code is 3', async () => {
    const backup = await shop.room.json<Backup & { warnings: string[] }>(['backup'], {
      exitCode: 3,
      env: await toolsWith('pg_dump', 'exec "$real" --exclude-table=orders "$@"'),
    })
    expect(backup.warnings.join('\n')).toContain('public.orders')
    await shop.room.json(['backup'])
    await shop.room.json(['delete', backup.id, '--yes'])
  })

  test('warns and ends well: the backup exists, and the warning is told', async () => {
    const end = await shop.room.run(
      ['backup', '--verbose', '--json'],
      await toolsWith('pg_dump', 'echo "pg_dump: warning: there are circular foreign-key constraints" >&2; exec "$real" "$@"'),
    )
    expect(end.exitCode).toBe(0)
    expect(end.stderr).toContain('circular foreign-key')
  })
})

describe('a pg_restore that', () => {
  test.each([
    ['does nothing and ends well', 'exit 0'],
    ['leaves a table out', 'exec "$real" "$@" --exclude-schema=nothing -T touch --table=customers'],
  ])('%s: the copy is found to be incomplete (exit 3), and no drill proves it', async (_name, script) => {
    const env = await toolsWith('pg_restore', script)
    const { result } = await shop.room.json<{ result: { tables: { name: string; match: boolean }[]; warnings: string[] } }>(['restore', '--test'], {
      exitCode: 3,
      env,
    })
    expect(result.tables.find((table) => table.name === 'orders')).toMatchObject({ match: false })
    expect(result.warnings.join('\n')).toContain('public.orders')
    const { proof } = await shop.room.json<{ proof: { outcome: string } }>(['drill', '--server', 'same'], { exitCode: 1, env })
    expect(proof.outcome).toBe('failed')
    const refused = await shop.room.json<Failed>(['restore', '--replace', '--yes'], { exitCode: 1, env })
    expect(refused.error.code).toBe('check-failed')
    expect(await shop.sql('SELECT count(*)::int AS n FROM orders')).toEqual([{ n: 200 }])
    expect(await shop.databases()).toEqual([shop.name, `${shop.name}_restore_test`])
  })

  test('fails at once: the restore fails, and the half copy is removed', async () => {
    const env = await toolsWith('pg_restore', 'echo "pg_restore: error: something broke" >&2; exit 1')
    const { error } = await shop.room.json<Failed>(['restore', '--as', `${shop.name}_failed`], { exitCode: 1, env })
    expect(error.message).toContain('something broke')
    expect(await shop.databases()).not.toContain(`${shop.name}_failed`)
  })
})
