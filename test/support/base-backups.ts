import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type EmbeddedServer } from '../../src/postgres/embedded.ts'
import { startPostmaster } from '../../src/postgres/embedded-postmaster.ts'
import { type BaseBackup, type BaseBackupOptions, type BaseBackupSink, runBaseBackup } from '../../src/postgres/replication/base-backup.ts'
import type { ReplicationConnection } from '../../src/postgres/replication/replication-connection.ts'
import { openSession, type Session } from '../../src/postgres/session.ts'
import type { ConnectionTarget } from '../../src/postgres/target.ts'

const run = promisify(execFile)

export interface Room extends AsyncDisposable {
  readonly path: string
}

/** A directory that the servers' account can enter. */
export async function openRoom(): Promise<Room> {
  const path = await mkdtemp(join(tmpdir(), 'tidemark-replication-'))
  await chmod(path, 0o755)
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) }
}

/** Gives everything below `path` to the account of the server. */
export async function giveToServer(path: string, server: EmbeddedServer): Promise<void> {
  const { uid, gid } = await stat(server.dataDirectory)
  await run('chown', ['-R', `${uid}:${gid}`, path])
}

export function backupOptions(major: number, changes: Partial<BaseBackupOptions> = {}): BaseBackupOptions {
  return {
    major,
    label: 'tidemark test',
    fastCheckpoint: true,
    manifest: true,
    manifestChecksums: 'SHA256',
    verifyChecksums: true,
    incremental: false,
    progress: false,
    ...changes,
  }
}

/** Throws everything away. */
export const discard: BaseBackupSink = {
  started: () => undefined,
  archive: () => undefined,
  data: () => undefined,
  archiveEnd: () => undefined,
  manifest: () => undefined,
}

export interface ReceivedBackup extends BaseBackup {
  /** `base`, or the tablespace's OID → where its files are. */
  readonly directories: ReadonlyMap<string, string>
  readonly manifest: Buffer
}

/** Takes a base backup and unpacks it with the system's tar. Some pieces are taken at once and some late, as a real sink does. */
export async function receiveBaseBackup(connection: ReplicationConnection, options: BaseBackupOptions, into: string): Promise<ReceivedBackup> {
  const manifest: Buffer[] = []
  const archives: string[] = []
  let file = -1
  let pieces = 0
  const backup = await runBaseBackup(connection, options, {
    ...discard,
    archive: (oid) => {
      if (file !== -1) throw new Error('an archive begins before the one before has ended')
      archives.push(String(oid ?? 'base'))
      file = openSync(join(into, `${oid ?? 'base'}.tar`), 'w')
    },
    data: (bytes) => {
      pieces += 1
      if (pieces % 7 > 0) return void writeSync(file, bytes)
      return nextTurn().then(() => void writeSync(file, bytes))
    },
    archiveEnd: () => {
      closeSync(file)
      file = -1
    },
    manifest: (bytes) => void manifest.push(Buffer.from(bytes)),
  })
  const directories = new Map(archives.map((name) => [name, join(into, name)]))
  for (const [name, directory] of directories) {
    await mkdir(directory, { mode: 0o700 })
    await run('tar', ['-x', '--no-same-owner', '-f', join(into, `${name}.tar`), '-C', directory])
    await rm(join(into, `${name}.tar`))
  }
  return { ...backup, directories, manifest: Buffer.concat(manifest) }
}

/** What is wrong with the files according to the server's manifest (checksums SHA256) and with the manifest itself. */
export async function manifestComplaints({ manifest, directories }: Pick<ReceivedBackup, 'manifest' | 'directories'>): Promise<readonly string[]> {
  const complaints: string[] = []
  const lastLine = manifest.lastIndexOf('\n', -2) + 1
  const said = /^"Manifest-Checksum": "([0-9a-f]{64})"\}\n$/.exec(manifest.toString('utf8', lastLine))?.[1]
  if (said !== createHash('sha256').update(manifest.subarray(0, lastLine)).digest('hex')) complaints.push('the manifest does not have its own checksum')
  const { Files: files } = JSON.parse(manifest.toString()) as { Files: { Path: string; Size: number; Checksum: string }[] }
  for (const { Path: path, Size: size, Checksum: checksum } of files) {
    const [, oid, rest] = /^pg_tblspc\/(\d+)\/(.*)$/.exec(path) ?? []
    const bytes = await readFile(join(directories.get(oid ?? 'base') ?? '/nowhere', rest ?? path)).catch(() => null)
    if (bytes === null) complaints.push(`${path} is missing`)
    else if (bytes.length !== size || createHash('sha256').update(bytes).digest('hex') !== checksum) complaints.push(`${path} is not what it was`)
  }
  return files.length > 500 ? complaints : [...complaints, `there are only ${files.length} files`]
}

export interface RestoredServer extends AsyncDisposable {
  /** Superuser, by socket. */
  readonly target: ConnectionTarget
  session(): Promise<Session>
}

/** Puts the tablespaces where they were unpacked, and starts the server of the same major on the files. `room` is the parent of all of them. */
export async function startRestored(
  backup: ReceivedBackup,
  from: EmbeddedServer,
  room: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<RestoredServer> {
  const dataDirectory = backup.directories.get('base') ?? ''
  const map = [...backup.directories].filter(([name]) => name !== 'base').map(([oid, path]) => `${oid} ${path}\n`)
  if (map.length > 0) await writeFile(join(dataDirectory, 'tablespace_map'), map.join(''))
  const layout = { directory: room, dataDirectory, socketDirectory: join(room, 'socket'), logFile: join(room, 'server.log') }
  await mkdir(layout.socketDirectory)
  await writeFile(layout.logFile, '')
  await giveToServer(room, from)
  const { uid, gid } = await stat(from.dataDirectory)
  const server = await startPostmaster(from.binDir, layout, {
    account: process.getuid?.() === 0 ? { uid, gid } : null,
    tcp: false,
    port: 0,
    settings: { fsync: 'off', ...settings },
  })
  const target = { ...from.socketTarget, host: layout.socketDirectory, port: server.port }
  const session = () => openSession(target, { applicationName: 'tidemark test' })
  {
    // It lets us in when it is consistent, which may be before its end of recovery.
    await using watcher = await session()
    while ((await watcher.query('SELECT 1 WHERE pg_is_in_recovery()')).length > 0) await nextTurn()
  }
  return {
    target,
    session,
    [Symbol.asyncDispose]: () => server.stop(),
  }
}
