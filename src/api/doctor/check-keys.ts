import { lstat, readdir, readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { hostIdOf, findHost } from '../../repository/keys/ring.ts'
import type { Repository } from '../../repository/repository.ts'
import { keysOf } from '../unlock-repository.ts'
import type { Workspace } from '../workspace.ts'
import type { Report } from './finding.ts'

/** Who can get at the keys of this host, and whether the recovery kit still lies about. Nothing of them is shown. */
export async function checkKeyFiles(workspace: Workspace, report: Report): Promise<void> {
  const { settings, machine } = workspace
  const { hostKey, kitFile } = settings.encryption
  if (hostKey !== null) await checkHostKey(hostKey.path, report)
  const places = [machine.cwd, ...(settings.configFile === null ? [] : [dirname(settings.configFile)])]
  const kits = new Set(kitFile === null ? [] : [kitFile])
  for (const place of new Set(places)) for (const kit of await kitsIn(place)) kits.add(kit)
  for (const kit of kits) {
    report.add({
      severity: 'warn',
      check: 'recovery-kit',
      what: `the recovery kit ${kit} is on this machine`,
      why: 'whoever gets into this machine reads every backup, and when the machine is lost, so is the kit',
      fix: `print it, or copy it to a medium that leaves this room; then: shred -u '${kit.replaceAll("'", `'\\''`)}'`,
    })
  }
}

async function checkHostKey(path: string, report: Report): Promise<void> {
  try {
    const { mode } = await stat(path)
    const shown = `(mode 0${(mode & 0o777).toString(8)})`
    if ((mode & 0o077) === 0) report.add({ severity: 'ok', check: 'host-key', what: `the host key ${path} is closed to other accounts ${shown}` })
    else
      report.add({
        severity: 'fail',
        check: 'host-key',
        what: `other accounts of this machine may read the host key ${path} ${shown}`,
        why: 'with it they open what this host can open, and sign in its name',
        fix: `chmod 600 '${path.replaceAll("'", `'\\''`)}'`,
      })
  } catch (error) {
    // Where none is needed there is none; where one is, the repository says so.
    if (systemCodeOf(error) === 'ENOENT') return
    report.add({ severity: 'fail', check: 'host-key', what: `the host key ${path} cannot be looked at: ${messageOf(error)}`, fix: `ls -l '${path}'` })
  }
}

/** What the keyring of a repository says of this host, and whether secrets lie beside what they open. */
export async function checkKeyring({ name, storage, keyring }: Repository, report: Report, workspace: Workspace): Promise<void> {
  if (storage.kind === 'posix') {
    for (const path of await secretsIn(storage.location)) {
      report.add({
        severity: 'fail',
        check: 'key-place',
        what: `${path} holds secret keys, inside the repository`,
        why: 'whoever has the repository has the key to it',
        fix: `move it to another medium: mv '${path.replaceAll("'", `'\\''`)}' …`,
      })
    }
  }
  if (keyring === null) return report.add({ severity: 'ok', check: 'keyring', what: `backups in ${storage.location} are not sealed`, fix: null })
  const { ring, readsData } = keyring
  const { host } = await keysOf(workspace)
  const known = host === undefined ? undefined : findHost(ring, hostIdOf({ verifyKey: host.signingKey.verifyKey, recipient: host.identity.recipient }))
  const sealed = `${storage.location} is sealed (ring ${ring.number}, ${ring.members.length} members)`
  if (known === undefined || known.lastRing !== null) {
    return report.add({
      severity: 'fail',
      check: 'keyring',
      what: `${sealed}, and this machine is ${known === undefined ? 'no host' : 'no longer a host'} of it`,
      why: 'a backup must be signed by a host',
      fix: `tidemark key add --host NAME --kit FILE --repo ${name}`,
    })
  }
  const reads = readsData ? 'reads everything' : 'is write-only: it backs up, and restores need the recovery kit, or another member'
  report.add({ severity: 'ok', check: 'keyring', what: `${sealed}; host "${known.name}" ${reads}` })
}

const kitName = /^tidemark-recovery-kit.*\.txt$/
const secretText = /(?:AGE-SECRET-KEY-|TIDEMARK-(?:ROOT|HOST)-KEY-)1[A-Z0-9]{20}/
const mostKeyFileBytes = 64 * 1024

async function kitsIn(directory: string): Promise<readonly string[]> {
  return (await namesIn(directory)).filter((name) => kitName.test(name)).map((name) => join(directory, name))
}

/** Small files with the form of a secret key, in the directory itself: dumps and our own folder are not looked into. */
async function secretsIn(directory: string): Promise<readonly string[]> {
  const found: string[] = []
  for (const name of await namesIn(directory)) {
    const path = join(directory, name)
    const entry = await lstat(path)
    if (entry.isFile() && entry.size <= mostKeyFileBytes && secretText.test(await readFile(path, 'latin1'))) found.push(path)
  }
  return found
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return []
    throw error
  }
}
