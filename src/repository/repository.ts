import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { utc } from '../kernel/clock.ts'
import type { Context } from '../kernel/context.ts'
import { Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { probeConditionalCreate } from '../storage/probe.ts'
import type { Storage } from '../storage/storage.ts'
import { readObject, readObjectIfThere } from './bytes.ts'
import type { Keyring } from './keys/keyring.ts'
import { sealMetadata } from './keys/sealed-metadata.ts'
import { commitsRoot, repositoryKey, type Layout } from './layout.ts'

const descriptorSchema = z.object({
  format: z.string(),
  id: z.string().regex(/^[0-9a-f]{32}$/),
  createdAt: z.string(),
  layout: z.enum(['flat', 'tiered', 'dated']),
  conditionalCreate: z.literal('atomic'),
})

/** A place for backups in our documented format (docs/design.md), on a storage. */
export interface Repository {
  /** Its name in the configuration. */
  readonly name: string
  readonly id: string
  readonly layout: Layout
  /** Metadata is sealed in it, where there is a keyring. */
  readonly storage: Storage
  /** Null where nothing is sealed, and before the keyring was opened. */
  readonly keyring: Keyring | null
}

/** The repository as its keyring shows it; the same where there is none. */
export function withKeyring(repository: Repository, keyring: Keyring | null): Repository {
  if (keyring === null) return repository
  return { ...repository, keyring, storage: sealMetadata(repository.storage, repository.id, keyring) }
}

const descriptorLimitBytes = 64 * 1024

/** Opens an existing repository; rejects with `repository-missing` or `repository-format`. */
export async function openRepository(name: string, storage: Storage, signal?: AbortSignal): Promise<Repository> {
  const bytes = await readObjectIfThere(storage, repositoryKey, descriptorLimitBytes, signal)
  if (bytes === undefined) {
    throw new Failure('repository-missing', `there is no repository at ${storage.location}`, {
      hints: ['create one: tidemark repo init', 'is the path or the bucket right?'],
    })
  }
  return describe(name, storage, bytes)
}

/** Opens the repository, creating it first where there is none. The storage is tried before it is trusted. */
export async function openOrCreateRepository(name: string, storage: Storage, layout: Layout, context: Context): Promise<Repository> {
  const there = await readObjectIfThere(storage, repositoryKey, descriptorLimitBytes, context.signal)
  if (there !== undefined) return describe(name, storage, there)

  // A descriptor that was lost must not be made anew over the backups that are there.
  if (await hasLog(storage, context)) {
    const made = await readObjectIfThere(storage, repositoryKey, descriptorLimitBytes, context.signal)
    if (made !== undefined) return describe(name, storage, made)
    throw new Failure('repository-missing', `${repositoryKey} is gone from ${storage.location}, where backups are recorded`, {
      hints: [`bring ${repositoryKey} back from a copy of this repository; nothing else is missing as far as was looked`],
    })
  }

  context.emit({ type: 'step-begun', step: 'test-storage', subject: storage.location, expectedBytes: null })
  const found = await probeConditionalCreate(storage, '.tidemark/probe/')
  if (found !== 'atomic') {
    throw new Failure(
      'storage-unsafe',
      `${storage.location} cannot hold a repository: creating an object only if it is absent is ${found === 'racy' ? 'not atomic there (two of sixteen writers won)' : 'not supported there'}`,
      {
        hints: ['see what the storage can do: tidemark repo test', 'use another storage, or a local path'],
      },
    )
  }
  const descriptor = {
    format: 'tidemark-repository/1',
    id: randomBytes(16).toString('hex'),
    createdAt: utc(context.clock.now()),
    layout,
    conditionalCreate: 'atomic',
  }
  try {
    const bytes = new TextEncoder().encode(`${JSON.stringify(descriptor, null, 2)}\n`)
    await storage.put(repositoryKey, bytes, { ifAbsent: true, contentType: 'application/json', signal: context.signal })
  } catch (error) {
    // The loser of the race reads what the winner wrote.
    if (!isFailure(error, 'object-exists')) throw error
  }
  return describe(name, storage, await readObject(storage, repositoryKey, descriptorLimitBytes, context.signal))
}

async function hasLog(storage: Storage, context: Context): Promise<boolean> {
  for await (const _entry of storage.list(commitsRoot, { signal: context.signal })) return true
  return false
}

function describe(name: string, storage: Storage, bytes: Uint8Array): Repository {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw new Failure('repository-format', `${repositoryKey} at ${storage.location} is not readable: ${messageOf(error)}`, { cause: error })
  }
  const format: unknown = typeof json === 'object' && json !== null && 'format' in json ? json.format : undefined
  if (format !== 'tidemark-repository/1') {
    throw new Failure(
      'repository-format',
      `the repository at ${storage.location} has the format ${JSON.stringify(format)}; this version knows "tidemark-repository/1"`,
      {
        hints: ['update Tidemark: a newer version may have written this repository'],
      },
    )
  }
  const parsed = descriptorSchema.safeParse(json)
  if (!parsed.success)
    throw new Failure('repository-format', `${repositoryKey} at ${storage.location} is not what Tidemark writes: ${parsed.error.issues[0]?.message ?? ''}`)
  return { name, storage, id: parsed.data.id, layout: parsed.data.layout, keyring: null }
}
