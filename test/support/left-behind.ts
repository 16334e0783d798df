import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { TestCluster } from './cluster.ts'

/** Client programs of ours that run for this port, whoever their parent is now: name and PID. Linux only, as the tests that ask. */
export async function clientProgramsOf(port: number): Promise<readonly string[]> {
  return (await findClientPrograms(port)).map(({ name, pid }) => `${name} (PID ${pid})`)
}

export async function findClientPrograms(port: number): Promise<readonly { readonly name: string; readonly pid: number }[]> {
  const found: { name: string; pid: number }[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
    const variables = environment.split('\0')
    const name = variables.find((variable) => variable.startsWith('PGAPPNAME=tidemark '))
    if (name !== undefined && variables.includes(`PGPORT=${port}`)) found.push({ name: name.slice('PGAPPNAME='.length), pid: Number(pid) })
  }
  return found
}

/** Sessions of ours on the server. */
export async function sessionsOf(cluster: TestCluster, database: string): Promise<readonly string[]> {
  await using session = await cluster.session()
  const rows = await session.query<{ name: string }>(
    `SELECT application_name || ' in ' || datname AS name FROM pg_catalog.pg_stat_activity WHERE application_name LIKE 'tidemark %' AND application_name <> 'tidemark test' AND starts_with(datname, $1)`,
    [database],
  )
  return rows.map(({ name }) => name)
}

/** Asks again until the answer is empty, and returns what was still there when the patience was over. */
export async function untilNone(ask: () => Promise<readonly string[]>, patienceMs = 15_000): Promise<readonly string[]> {
  const endsAt = performance.now() + patienceMs
  for (;;) {
    const left = await ask()
    if (left.length === 0 || performance.now() > endsAt) return left
    await delay(50)
  }
}
