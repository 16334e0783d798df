import { appendFile, chown, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCodeOf } from '../../kernel/failure.ts'
import { controlFilePath } from '../../pgdata/control-file.ts'
import { formatTablespaceMap, parseTablespaceMap } from '../../pgdata/tablespace-map.ts'
import type { BaseRestorePlan, BaseRestoreRequest } from './base-restore-request.ts'
import { isThere, markerName, syncDirectory } from './target-directory.ts'
import { waitingControlFile } from './write-cluster.ts'

/** Without which a server waits for a primary, writes where only the original may, or takes from the slots of the original's subscriptions what that one has not had yet. */
const cutOff: Readonly<Record<string, string>> = {
  archive_mode: 'off',
  primary_conninfo: '',
  primary_slot_name: '',
  restore_command: '',
  max_logical_replication_workers: '0',
}
/** Recovery stops where a server has less of these than the one that wrote the WAL. */
const atLeast = ['max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction']

/** Settings and links for the place where the files are now. Resolves with what a person should know. */
export async function settleDirectory(request: BaseRestoreRequest, plan: BaseRestorePlan): Promise<readonly string[]> {
  const { backup, directory } = request
  const { root } = backup
  await rewriteTablespaceMap(directory, plan, root.server.major)
  const own = { ...cutOff, ...Object.fromEntries(atLeast.flatMap((name) => (root.settings[name] === undefined ? [] : [[name, root.settings[name]]]))) }
  await appendFile(
    join(directory, 'postgresql.auto.conf'),
    [
      `# Added when backup ${root.backup.id} was restored: a copy must not archive or follow as the original does.`,
      ...Object.entries(own).map(([name, value]) => `${name} = '${value}'`),
      '',
    ].join('\n'),
    { mode: 0o600 },
  )
  const brought = await bringConfiguration(request)
  if (request.owner !== null)
    for (const name of ['postgresql.auto.conf', 'tablespace_map', ...brought.files]) await giveTo(join(directory, name), request.owner)
  return brought.warnings
}

async function rewriteTablespaceMap(directory: string, { tablespaces }: BaseRestorePlan, major: number): Promise<void> {
  const path = join(directory, 'tablespace_map')
  const before = await readIfThere(path)
  if (before === null || before.length === 0) return
  const places = new Map(tablespaces.map(({ oid, to }) => [Number(oid), to]))
  const links = parseTablespaceMap(before, { major }).map(({ oid, path: from }) => ({ oid, path: places.get(oid) ?? from }))
  await writeFile(path, formatTablespaceMap(links, { major }))
}

/** A cluster whose configuration lies elsewhere (Debian) has none in its directory. The rules of who may connect are taken over; of the rest only what is needed, for it names places of the original. */
async function bringConfiguration({
  backup,
  directory,
}: BaseRestoreRequest): Promise<{ readonly files: readonly string[]; readonly warnings: readonly string[] }> {
  const files: string[] = []
  const warnings: string[] = []
  const add = async (name: string, text: string): Promise<void> => {
    if (await isThere(join(directory, name))) return
    await writeFile(join(directory, name), text, { mode: 0o600 })
    files.push(name)
  }
  const outside = new Map(backup.root.outside.map((each) => [each.setting, each]))
  await add('pg_hba.conf', outside.get('hba_file')?.text ?? 'local all all peer\n')
  await add('pg_ident.conf', outside.get('ident_file')?.text ?? '')
  const configuration = outside.get('config_file')
  await add(
    'postgresql.conf',
    `# The original's lay outside of its data directory${configuration === undefined ? '' : `: ${configuration.path}; it is kept in postgresql.conf.original`}.\n`,
  )
  if (configuration !== undefined && files.includes('postgresql.conf')) {
    await add('postgresql.conf.original', configuration.text)
    warnings.push(
      `the original's configuration (${configuration.path}) is in postgresql.conf.original; it names places of the original, so it is not in force: look through it`,
    )
  }
  return { files, warnings }
}

/** The last step, after everything is durable: the directory is a cluster from here on. */
export async function putControlFile({ directory }: Pick<BaseRestoreRequest, 'directory'>): Promise<void> {
  await rename(join(directory, waitingControlFile), join(directory, controlFilePath))
  await syncDirectory(join(directory, 'global'))
  await rm(join(directory, markerName))
  await syncDirectory(directory)
}

async function giveTo(path: string, { uid, gid }: { readonly uid: number; readonly gid: number }): Promise<void> {
  if (await isThere(path)) await chown(path, uid, gid)
}

async function readIfThere(path: string): Promise<Buffer | null> {
  try {
    return await readFile(path)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null
    throw error
  }
}
