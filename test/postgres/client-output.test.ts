import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startClient } from '../../src/postgres/client-process.ts'
import type { ClientTool } from '../../src/postgres/client-tools.ts'
import { readAll } from '../../src/stream/chunks.ts'
import { sharedCluster } from '../support/cluster.ts'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tidemark-output-'))
})
afterAll(() => rm(directory, { recursive: true }))

async function program(body: string): Promise<ClientTool> {
  const path = join(directory, `program-${Math.random().toString(36).slice(2)}`)
  await writeFile(path, `#!/bin/sh\n${body}\n`)
  await chmod(path, 0o755)
  return { name: 'pg_dump', path, version: '15.99', major: 15, container: null }
}

it('what a program wrote before anybody read it is not lost when the program ends first', async () => {
  const { target } = await sharedCluster(15)
  await using client = await startClient(await program('echo one; echo two'), [], target, { applicationName: 'tidemark output test' })
  // Long after the program's end: what a storage does that answers slowly.
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(Buffer.from(await readAll(client.stdout, 1024, 'output')).toString()).toBe('one\ntwo\n')
  await client.requireSuccess()
})

it('a program whose output nobody takes is stopped all the same', async () => {
  const { target } = await sharedCluster(15)
  const client = await startClient(await program('exec cat /dev/zero'), [], target, { applicationName: 'tidemark output test' })
  await client.cancel()
  const { signal } = await client.ended
  expect(signal).toBe('SIGINT')
})
