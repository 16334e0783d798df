import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemClock } from '../../src/kernel/clock.ts'
import { endServerOf } from '../../src/postgres/embedded-leftovers.ts'
import { openSession, type Session } from '../../src/postgres/session.ts'
import { findAccount } from '../../src/postgres/system-account.ts'
import { startRestored } from '../../src/restore/base/start-restored.ts'
import type { TestCluster } from './cluster.ts'
import { stockProgram } from './stock-tools.ts'

const run = promisify(execFile)

/** Every file below a directory, relative to it; links are followed where PostgreSQL has them. */
export async function filesIn(directory: string, relative = ''): Promise<string[]> {
  const files: string[] = []
  for (const found of await readdir(join(directory, relative), { withFileTypes: true })) {
    const path = relative === '' ? found.name : `${relative}/${found.name}`
    if (found.isFile()) files.push(path)
    else files.push(...(await filesIn(directory, path)))
  }
  return files.toSorted()
}

/** What `pg_verifybackup` says, and whether it agrees. */
export async function verifyBackup(binDir: string, directory: string, flags: readonly string[] = []): Promise<{ readonly ok: boolean; readonly text: string }> {
  const { exitCode, stdout, stderr } = await stockProgram(join(binDir, 'pg_verifybackup'), [...flags, directory])
  return { ok: exitCode === 0 && stdout.toString().includes('backup successfully verified'), text: `${stdout.toString()}${stderr}` }
}

/** Starts a server in a directory as somebody would who has no Tidemark, and hands its superuser's sessions to `work`. Tablespaces lie in `beside`. */
export async function withServerIn(
  cluster: TestCluster,
  { directory, beside = [] }: { readonly directory: string; readonly beside?: readonly string[] },
  work: (session: (database?: string) => Promise<Session>) => Promise<void>,
): Promise<void> {
  const account = process.getuid?.() === 0 ? await findAccount('postgres') : null
  if (account !== null) for (const path of [directory, ...beside]) await giveAway(path, account)
  const context = { clock: systemClock, emit: () => undefined, signal: new AbortController().signal }
  try {
    const { port } = await startRestored({ directory, programs: cluster.server.binDir, owner: account, port: 0 }, context)
    if (port === null) throw new Error('the server has no port')
    const target = { ...cluster.target, host: `${directory}-socket`, port }
    await work((database = 'postgres') => openSession({ ...target, database }, { applicationName: 'tidemark test' }))
  } finally {
    await endServerOf(directory)
  }
}

async function giveAway(path: string, { uid, gid }: { readonly uid: number; readonly gid: number }): Promise<void> {
  await run('chown', ['-R', `${uid}:${gid}`, path])
}
