/**
 * A process of its own that outlives us for a moment: when the channel to us breaks, because we were killed without
 * a chance to clean up, it ends the server and removes its directory. Started by `embedded.ts`; argument: the server's directory.
 */
import process from 'node:process'
import { setTimeout as delay } from 'node:timers/promises'
import { clear, endServerOf, postmasterOf, readLifetime } from './embedded-leftovers.ts'

const directory = process.argv[2]
if (directory === undefined) process.exit(2)

// A terminal's Ctrl-C reaches us too; our end is decided by the channel alone.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
process.on('message', () => process.exit(0))
process.on('disconnect', () => {
  void cleanUp(directory).then(
    () => process.exit(0),
    () => process.exit(1),
  )
})

async function cleanUp(of: string): Promise<void> {
  const lifetime = await readLifetime(of)
  if (lifetime === null) return
  // Our owner may have died in the instant between starting the server and the server writing its PID file.
  for (let tries = 0; tries < 20 && (await postmasterOf(lifetime.dataDirectory)) === null; tries += 1) await delay(50)
  await endServerOf(lifetime.dataDirectory)
  await clear(of, lifetime)
}
