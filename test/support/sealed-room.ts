import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { InitKeysOutcome } from '../../src/api/keys/init-keys.ts'
import { tidemarkRoom, urlOf, type TidemarkRoom } from './tidemark-cli.ts'
import type { ConnectionTarget } from '../../src/postgres/target.ts'

/** A machine whose repository is sealed: kit and host key lie outside of it. */
export interface SealedRoom extends AsyncDisposable {
  readonly room: TidemarkRoom
  readonly kit: string
  readonly hostKey: string
  readonly keys: InitKeysOutcome
}

/** The cluster is called `main` and files after their backup, so that nothing in the repository is named after the database. */
export const sealedConfig = `
clusters: { main: { url: "env:DATABASE_URL", dump: { name: "<id>" } } }
repositories: { local: { path: ./backups } }
encryption: {}
`

export async function sealedRoom(target: ConnectionTarget, flags: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Promise<SealedRoom> {
  const room = await tidemarkRoom({ target, config: sealedConfig, env })
  await mkdir(join(room.directory, 'usb'))
  const kit = join(room.directory, 'usb', 'kit.txt')
  const keys = await room.json<InitKeysOutcome>(['key', 'init', '--kit', kit, '--name', 'db1', '--kit-stored', ...flags])
  return { room, kit, hostKey: join(room.directory, '.config/tidemark/host.key'), keys, [Symbol.asyncDispose]: () => room[Symbol.asyncDispose]() }
}

/** Another machine: of the first it has the server's address at most, and what is copied to it. */
export async function otherMachine(target?: ConnectionTarget): Promise<TidemarkRoom> {
  return tidemarkRoom(target === undefined ? {} : { env: { DATABASE_URL: urlOf(target) } })
}

/** Every file below a directory, by its path: bytes, time and mode, so that nothing can be touched unseen. */
export async function snapshot(directory: string): Promise<Readonly<Record<string, string>>> {
  const seen: Record<string, string> = {}
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const { mtimeMs, mode } = await stat(path)
    const digest = createHash('sha256')
      .update(await readFile(path))
      .digest('hex')
    seen[path.slice(directory.length + 1)] = `${digest} ${mtimeMs} ${mode.toString(8)}`
  }
  return seen
}

/** The files below a directory whose bytes, or whose names, hold one of these texts. */
export async function filesWith(directory: string, texts: readonly string[]): Promise<readonly string[]> {
  const found: string[] = []
  for (const path of Object.keys(await snapshot(directory))) {
    const bytes = await readFile(join(directory, path))
    if (texts.some((text) => path.includes(text) || bytes.includes(text) || bytes.includes(Buffer.from(text).toString('base64').slice(0, -4)))) found.push(path)
  }
  return found
}

export async function replaceFile(path: string, bytes: string | Uint8Array): Promise<void> {
  await rm(path, { force: true })
  await writeFile(path, bytes, { mode: 0o600 })
}
