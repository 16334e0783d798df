import { Failure } from '../../kernel/failure.ts'
import { objectOverheadBytes, openObject, sealObject } from '../../seal/sealed-object.ts'
import { deriveKey } from '../../seal/derive-key.ts'
import type { Body, CallOptions, PutOptions, ReadOptions, Storage, StoredObject } from '../../storage/storage.ts'
import { readObject } from '../bytes.ts'
import type { Keyring } from './keyring.ts'

/**
 * A storage in which what we note of backups (commit entries, leases, manifests, proofs, run records) is sealed and signed, and nobody above has to know: docs/keys.md "Sealed metadata".
 *
 *     "TMMETA1\n" │ metadata key epoch u32 LE │ sealed object: signature (80) ‖ content
 *
 * Bound to the repository and to its key, so no object can stand in another's place. In a sealed repository nothing else is taken under these keys: bytes in clear are `integrity`.
 */
export function sealMetadata(storage: Storage, repository: string, keyring: Keyring): Storage {
  const boundTo = (key: string): Buffer => Buffer.from(`tidemark-metadata/1\n${repository}\n${key}`, 'utf8')
  const secretOf = (epoch?: number): { readonly epoch: number; readonly secret: Uint8Array } => {
    const found = keyring.metadataKey(epoch)
    return { epoch: found.epoch, secret: deriveKey(found.key.reveal(), 'object') }
  }
  const seal = (key: string, content: Uint8Array): Buffer => {
    const { epoch, secret } = secretOf()
    const signature = keyring.sign(purpose, Buffer.concat([boundTo(key), separator, content]))
    const header = Buffer.alloc(headerBytes)
    magic.copy(header)
    header.writeUInt32LE(epoch, magic.length)
    return Buffer.concat([header, sealObject(secret, boundTo(key), Buffer.concat([signature, content]))])
  }
  const open = (key: string, sealed: Buffer): Buffer => {
    const broken = (why: string) => new Failure('integrity', `${key} ${why}`, { details: { object: key } })
    if (sealed.length < overheadBytes || !sealed.subarray(0, magic.length).equals(magic))
      throw broken('is not sealed, in a repository that is: it is not what was stored')
    const opened = openObject(secretOf(sealed.readUInt32LE(magic.length)).secret, boundTo(key), sealed.subarray(headerBytes))
    if (opened === null) throw broken('was changed, or belongs elsewhere: it does not open with the key of this repository')
    const content = opened.subarray(signatureBytes)
    keyring.verify(purpose, Buffer.concat([boundTo(key), separator, content]), opened.subarray(0, signatureBytes))
    return content
  }
  const shown = (object: StoredObject): StoredObject =>
    isMetadata(object.key) ? { ...object, sizeBytes: Math.max(0, object.sizeBytes - overheadBytes) } : object

  return {
    ...bound(storage),
    put: async (key, body, options = {}) => {
      if (!isMetadata(key)) return storage.put(key, body, options)
      const sealed = seal(key, await bytesOf(body))
      return shown(await storage.put(key, sealed, resized(options, sealed.length)))
    },
    read: (key, options = {}) => (isMetadata(key) ? readOpened(storage, key, options, open) : storage.read(key, options)),
    stat: async (key, options) => {
      const found = await storage.stat(key, options)
      return found === undefined ? undefined : shown(found)
    },
    list: (prefix, options) => listShown(storage, prefix, shown, options),
    copy: async (from, to, options = {}) => {
      if (!isMetadata(from) && !isMetadata(to)) return storage.copy(from, to, options)
      throw new Failure('bug', `${from} cannot be copied to ${to}: it is sealed for its place`)
    },
  }
}

const purpose = 'metadata'
const separator = Buffer.from('\n')
const magic = Buffer.from('TMMETA1\n', 'latin1')
const headerBytes = magic.length + 4
const signatureBytes = 80
const overheadBytes = headerBytes + objectOverheadBytes + signatureBytes
/** Manifests have at most 256 MiB. */
const limitBytes = 257 << 20

function isMetadata(key: string): boolean {
  return /^\.tidemark\/(?:commits|leases|manifests|proofs|runs)\//.test(key)
}

/** The methods of a storage that may not be there, and those that are as they were. */
function bound(storage: Storage): Storage {
  return {
    kind: storage.kind,
    location: storage.location,
    put: storage.put.bind(storage),
    read: storage.read.bind(storage),
    stat: storage.stat.bind(storage),
    list: storage.list.bind(storage),
    delete: storage.delete.bind(storage),
    copy: storage.copy.bind(storage),
    ...(storage.localPath === undefined ? {} : { localPath: storage.localPath.bind(storage) }),
    ...(storage.setAlias === undefined ? {} : { setAlias: storage.setAlias.bind(storage) }),
    ...(storage.readAlias === undefined ? {} : { readAlias: storage.readAlias.bind(storage) }),
    ...(storage.freeBytes === undefined ? {} : { freeBytes: storage.freeBytes.bind(storage) }),
    ...(storage.abortStaleUploads === undefined ? {} : { abortStaleUploads: storage.abortStaleUploads.bind(storage) }),
    [Symbol.asyncDispose]: storage[Symbol.asyncDispose].bind(storage),
  }
}

function resized(options: PutOptions, sizeBytes: number): PutOptions {
  return options.sizeBytes === undefined ? options : { ...options, sizeBytes }
}

async function bytesOf(body: Body): Promise<Uint8Array> {
  if (body instanceof Uint8Array) return body
  const parts: Uint8Array[] = []
  for await (const part of typeof body === 'function' ? body() : body) parts.push(part)
  return Buffer.concat(parts)
}

async function* readOpened(
  storage: Storage,
  key: string,
  { offset = 0, length, signal, opened }: ReadOptions,
  open: (key: string, sealed: Buffer) => Buffer,
): AsyncGenerator<Uint8Array, void, undefined> {
  const found = opened === undefined ? undefined : await storage.stat(key, signal === undefined ? {} : { signal })
  const content = open(key, Buffer.from(await readObject(storage, key, limitBytes, signal)))
  if (found !== undefined) opened?.({ ...found, sizeBytes: content.length })
  const end = length === undefined ? content.length : offset + length
  if (end > content.length) throw new Failure('storage-failed', `${key} has ${content.length} bytes; bytes up to ${end} were asked for`)
  yield content.subarray(offset, end)
}

async function* listShown(
  storage: Storage,
  prefix: string,
  shown: (object: StoredObject) => StoredObject,
  options?: CallOptions,
): AsyncGenerator<StoredObject, void, undefined> {
  for await (const object of storage.list(prefix, options)) yield shown(object)
}
