import { readFile } from 'node:fs/promises'
import type { ServerAccount } from './embedded-postmaster.ts'

/** An account of this machine, by its name or by its number; null when there is none. */
export async function findAccount(wanted: string | number): Promise<(ServerAccount & { readonly name: string }) | null> {
  const accounts = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const found = accounts.find(([name, , uid]) => (typeof wanted === 'string' ? name === wanted : uid === String(wanted)))
  return found === undefined ? null : { name: found[0] ?? '', uid: Number(found[2]), gid: Number(found[3]) }
}
