import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { sweepEmbeddedServers } from '../../src/postgres/embedded.ts'

const serversDirectory = join(tmpdir(), `tidemark-test-servers-${userInfo().uid}`)

/** Ends servers whose test process is gone: those of an earlier run that was killed, and those a test of this run left behind. */
export async function setup(): Promise<void> {
  await sweepEmbeddedServers(serversDirectory)
}

export async function teardown(): Promise<void> {
  const swept = await sweepEmbeddedServers(serversDirectory)
  if (swept.length > 0) process.stderr.write(`ended ${swept.length} test servers that outlived their tests: ${swept.join(', ')}\n`)
}
