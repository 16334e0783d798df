import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { Failure } from '../kernel/failure.ts'
import { orAbsent } from './posix-errors.ts'

const run = promisify(execFile)

/** The numeric id of a user or group given by name or number; `config-invalid` when the system knows none. -1 for null. */
export async function idOf(kind: 'user' | 'group', name: string | null): Promise<number> {
  if (name === null) return -1
  if (/^\d{1,10}$/.test(name)) return Number(name)
  const file = kind === 'user' ? '/etc/passwd' : '/etc/group'
  const id = findId((await orAbsent(() => readFile(file, 'utf8'))) ?? '', name) ?? (await askNameService(kind, name))
  if (id !== undefined) return id
  throw new Failure('config-invalid', `cannot give backups to the ${kind} "${name}": this machine knows no such ${kind}`, {
    hints: [kind === 'user' ? 'check repositories.<name>.local.owner' : 'check repositories.<name>.local.group'],
  })
}

/** The third field of the entry of that name: uid in passwd(5), gid in group(5). */
function findId(text: string, name: string): number | undefined {
  for (const line of text.split('\n')) {
    const fields = line.split(':')
    if (fields[0] === name && /^\d+$/.test(fields[2] ?? '')) return Number(fields[2])
  }
  return undefined
}

/** LDAP and the like. Failing to ask is answered like not finding: the caller refuses either way, naming the name. */
async function askNameService(kind: 'user' | 'group', name: string): Promise<number | undefined> {
  try {
    const { stdout } = await run('getent', [kind === 'user' ? 'passwd' : 'group', '--', name], { timeout: 5000 })
    return findId(stdout, name)
  } catch {
    return undefined
  }
}
