import { constants } from 'node:fs'
import { open, realpath } from 'node:fs/promises'
import { basename, dirname, join, sep } from 'node:path'
import type { Context } from '../../kernel/context.ts'
import { Failure, messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { Secret } from '../../kernel/secret.ts'
import { requireOutsideServers } from '../../postgres/data-directory.ts'
import type { Storage } from '../../storage/storage.ts'
import { repositoryKey } from '../layout.ts'
import { parseKeyFile, type KeyFile } from './key-file.ts'

const limitBytes = 64 * 1024

/** Reads a kit, a host key or a file of `age-keygen`. Throws `key-missing` when it is not there, may not be read, or holds no usable key. */
export async function readKeyFile(path: string, context: Pick<Context, 'emit'>): Promise<KeyFile> {
  const text = await readSecretFile(path, context)
  if (text !== undefined) return parseKeyFile(text, path)
  throw new Failure('key-missing', `cannot read the key file ${path}: it does not exist`, { hints: [`ls -l ${path}`], details: { file: path } })
}

/** The text of a file of keys, or undefined when there is none. One that others may read is a warning. */
export async function readSecretFile(path: string, context: Pick<Context, 'emit'>): Promise<Secret | undefined> {
  try {
    await using file = await open(path, 'r')
    const { mode, size } = await file.stat()
    if (size > limitBytes) throw unreadable(path, 'it is too large for a file of keys')
    if ((mode & 0o077) !== 0) {
      context.emit({ type: 'warning', code: 'key-file-open', message: `other users of this machine may read the keys in ${path}: chmod 600 ${path}` })
    }
    return new Secret(await file.readFile('utf8'))
  } catch (error) {
    if (error instanceof Failure) throw error
    if (systemCodeOf(error) === 'ENOENT') return undefined
    throw unreadable(path, systemCodeOf(error) === 'EACCES' ? 'this user may not' : messageOf(error), error)
  }
}

function unreadable(path: string, why: string, cause?: unknown): Failure {
  return new Failure('key-missing', `cannot read the key file ${path}: ${why}`, { details: { file: path }, ...(cause === undefined ? {} : { cause }) })
}

/** Writes a new file that only its owner can read, durably, and reads it back. Throws `name-taken` when something is there: keys are never overwritten. */
export async function writeSecretFile(path: string, text: Secret): Promise<void> {
  try {
    await using file = await open(path, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR, 0o600)
    // A umask can only take away; what is left must be what was asked for.
    await file.chmod(0o600)
    await file.writeFile(text.reveal())
    await file.sync()
    const { buffer, bytesRead } = await file.read(Buffer.alloc(limitBytes), 0, limitBytes, 0)
    if (buffer.toString('utf8', 0, bytesRead) !== text.reveal()) throw new Failure('storage-failed', `cannot write ${path}: it does not hold what was written`)
    await using directory = await open(dirname(path), 'r')
    await directory.sync()
  } catch (error) {
    if (error instanceof Failure) throw error
    if (systemCodeOf(error) === 'EEXIST')
      throw new Failure('name-taken', `cannot write ${path}: a file of that name exists, and keys are never overwritten`, { cause: error })
    throw new Failure('storage-failed', `cannot write ${path}: ${messageOf(error)}`, { cause: error })
  }
}

/** Refuses (`target-unsafe`) a place in which a key would be stored with what it opens, or copied by a base backup. */
export async function requireSafePlace(path: string, storage: Storage): Promise<void> {
  await requireOutsideServers(path)
  const inside = storage.localPath?.(repositoryKey)
  if (inside === undefined) return
  const [place, root] = [await realPlace(path), await realPlace(dirname(dirname(inside)))]
  if (place !== root && !place.startsWith(root.endsWith(sep) ? root : `${root}${sep}`)) return
  throw new Failure('target-unsafe', `cannot keep keys in ${path}: it lies inside the repository ${root}, and whoever has the repository would have the key`, {
    hints: ['choose a path outside of it, best on another medium'],
  })
}

/** Without links, as far as it exists. */
async function realPlace(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT' || dirname(path) === path) throw error
    return join(await realPlace(dirname(path)), basename(path))
  }
}
