import { execFile } from 'node:child_process'
import { chmod, chown, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** `ca.crt`, and `server.crt` with `server.key` signed by it, for localhost and 127.0.0.1; the key belongs to the account that servers run as. */
export async function makeCertificates(into: string): Promise<void> {
  const openssl = (...args: string[]) => run('openssl', args, { cwd: into })
  await openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=Tidemark test authority')
  await openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=localhost')
  await writeFile(join(into, 'names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n')
  await openssl(
    'x509',
    '-req',
    '-in',
    'server.csr',
    '-CA',
    'ca.crt',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    'names',
    '-out',
    'server.crt',
  )
  // The server insists that its key belongs to its account, or to root with 0640.
  const account = await serverAccount()
  await chmod(join(into, 'server.key'), 0o600)
  if (account !== null) await chown(join(into, 'server.key'), account.uid, account.gid)
}

async function serverAccount(): Promise<{ uid: number; gid: number } | null> {
  if (process.getuid?.() !== 0) return null
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const found = lines.find((fields) => fields[0] === 'postgres') ?? lines.find((fields) => fields[0] === 'nobody')
  return found === undefined ? null : { uid: Number(found[2]), gid: Number(found[3]) }
}
