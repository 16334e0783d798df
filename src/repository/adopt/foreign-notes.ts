import { isFailure } from '../../kernel/failure.ts'
import { openAgeFile } from '../../seal/age-file.ts'
import type { OpeningKeys } from '../../seal/age.ts'
import type { Storage } from '../../storage/storage.ts'
import { readAll } from '../../stream/chunks.ts'
import { readObjectIfThere } from '../bytes.ts'
import { isSealedName } from '../layout.ts'

/** What a `.info` beside a foreign dump says; every part may be missing, and nothing of it is trusted before what the dump itself says. */
export interface ForeignNotes {
  readonly database: string | null
  readonly container: string | null
  readonly user: string | null
  readonly hostname: string | null
  readonly takenAt: Temporal.Instant | null
  /** Level of the outer compression, where it is a digit. */
  readonly compressionLevel: string | null
  /** A part of a database; what `restore --replace` took of what it replaced. Said by our own: such a dump is never `latest`. */
  readonly partial: boolean
  readonly safety: boolean
  /** Name and `sha256:<hex>` of the file as we stored it. */
  readonly fileName: string | null
  readonly checksum: string | null
  /** What is wrong with the file, when it cannot be used. */
  readonly problem: string | null
}

const limitBytes = 64 * 1024 * 1024

/** Reads the `.info` at `key`, opened with `keys` where it is sealed; undefined when there is none. One that cannot be read is said, and is otherwise as none. */
export async function readForeignNotes(storage: Storage, key: string, keys: OpeningKeys, signal: AbortSignal): Promise<ForeignNotes | undefined> {
  const stored = await readObjectIfThere(storage, key, limitBytes, signal)
  if (stored === undefined) return undefined
  let bytes = stored
  try {
    if (isSealedName(key))
      bytes = await readAll(
        openAgeFile(one(stored), async () => keys),
        limitBytes,
      )
  } catch (error) {
    if (!isFailure(error, 'integrity', 'key-missing')) throw error
    return { ...nothing, problem: `${key} cannot be opened and was not used: ${error.message}` }
  }
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    // For people and scripts only: the dump is as good without it.
    return { ...nothing, problem: `${key} is not JSON and was not used` }
  }
  const fields: Record<string, unknown> = typeof json === 'object' && json !== null ? { ...json } : {}
  const text = (name: string) => {
    const value = fields[name]
    return typeof value === 'string' && value.trim() !== '' && value.length <= 300 ? value.trim() : null
  }
  // Whoever wrote more than `false` there meant something, and to count a dump for less is the safe side.
  const isSaid = (name: string) => ![undefined, null, false].includes(fields[name] as null)
  return {
    database: text('database'),
    container: text('container'),
    user: text('user'),
    hostname: text('hostname'),
    takenAt: instantOf(text('created_at')),
    compressionLevel: /^[1-9]$/.test(text('compression') ?? '') ? text('compression') : null,
    partial: isSaid('partial'),
    safety: isSaid('safety'),
    fileName: text('backup_file'),
    checksum: /^sha256:[0-9a-f]{64}$/.test(text('checksum') ?? '') ? text('checksum') : null,
    problem: null,
  }
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

const nothing: ForeignNotes = {
  database: null,
  container: null,
  user: null,
  hostname: null,
  takenAt: null,
  compressionLevel: null,
  partial: false,
  safety: false,
  fileName: null,
  checksum: null,
  problem: null,
}

/** RFC 3339 with an offset, as `date --iso-8601=seconds` writes it; anything else is no certain moment. */
function instantOf(text: string | null): Temporal.Instant | null {
  if (text === null) return null
  try {
    return Temporal.Instant.from(text)
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}
