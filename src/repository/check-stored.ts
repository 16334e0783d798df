import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import { createDumpReader, readDirectoryDump, type DumpContent } from '../dump/dump-reader.ts'
import { sameFingerprint } from '../dump/same-fingerprint.ts'
import type { ContentFingerprint } from '../dump/fingerprint.ts'
import type { Storage } from '../storage/storage.ts'
import { withProgress } from '../stream/chunks.ts'
import { openedName } from './layout.ts'
import type { StoredFile } from './manifest.ts'
import { outerCompressionOf, plainBytes, readChecked } from './read-stored.ts'
import { readOpened, type StoredFiles } from './stored-files.ts'

/** What a stored dump must turn out to be. */
export interface ExpectedDump {
  readonly format: 'custom' | 'plain' | 'directory'
  readonly fileName: string
  readonly files: readonly StoredFile[]
  /** Bytes out of pg_dump: another number is damage, and no decompression goes beyond it. */
  readonly plainBytes: number
  readonly fingerprint: ContentFingerprint | null
}

export interface CheckedDump {
  readonly readBytes: number
  readonly content: DumpContent | null
}

/**
 * Reads every file of a stored backup to its end: length and SHA-256 of each, and of the dump itself its structure and content against
 * the recorded fingerprint. Rejects with `integrity`, `dump-empty` or `object-missing` at the first thing that is wrong, and with `key-missing` where
 * a sealed file is the one that was stored and cannot be opened.
 */
export async function checkStoredDump(stored: StoredFiles, expected: ExpectedDump, context: Context): Promise<CheckedDump> {
  let readBytes = 0
  let content: DumpContent | null = null
  for (const file of expected.files) {
    if (file.role === 'info' || file.role === 'part') continue
    if (file.role === 'dump') content = await drain(scannedDump(stored, file, expected, context))
    else await drain(readOpened(stored, file, context.signal))
    readBytes += file.sizeBytes
  }
  if (expected.format !== 'directory') return { readBytes, content }
  return { readBytes: readBytes + partsOf(expected).reduce((sum, file) => sum + file.sizeBytes, 0), content: await scanParts(stored, expected, context) }
}

/** Reads every file to its end and compares length and SHA-256 alone: all that can be said of sealed files without their key. Returns the bytes read; rejects as `checkStoredDump`. */
export async function checkStoredBytes(storage: Storage, files: readonly StoredFile[], context: Context): Promise<number> {
  let readBytes = 0
  for (const file of files) {
    if (file.role === 'info') continue
    await drain(readChecked(storage, file, context.signal))
    readBytes += file.sizeBytes
  }
  return readBytes
}

function partsOf(expected: ExpectedDump): readonly StoredFile[] {
  return expected.files.filter((file) => file.role === 'part')
}

async function scanParts(stored: StoredFiles, expected: ExpectedDump, context: Context): Promise<DumpContent> {
  const parts = new Map(partsOf(expected).map((file) => [openedName(file.key.split('/').at(-1) ?? file.key), file]))
  const unread = new Set(parts.keys())
  const content = await readDirectoryDump(
    {
      list: async () => [...parts].map(([name, file]) => ({ name, sizeBytes: file.sizeBytes })),
      read: (name) => {
        const file = parts.get(name)
        if (file === undefined) throw new Failure('object-missing', `the backup has no file ${name}`, { details: { object: name } })
        unread.delete(name)
        return readOpened(stored, file, context.signal)
      },
    },
    { fingerprint: expected.fingerprint !== null, settings: expected.fingerprint?.settings ?? null, signal: context.signal },
  )
  // Files that the scan had no need for are stored all the same, so they are read all the same.
  for (const name of unread) {
    const file = parts.get(name)
    if (file !== undefined) await drain(readOpened(stored, file, context.signal))
  }
  requireSame(expected, content)
  return content
}

async function drain<Result>(source: AsyncGenerator<Uint8Array, Result>): Promise<Result> {
  for (;;) {
    const step = await source.next()
    if (step.done === true) return step.value
  }
}

/** The bytes pg_dump wrote, from the storage; throws at the end (or before) unless they are exactly what was dumped. Returns the content. */
export async function* scannedDump(files: StoredFiles, file: StoredFile, expected: ExpectedDump, context: Context): AsyncGenerator<Uint8Array, DumpContent> {
  const stored = withProgress(readOpened(files, file, context.signal), {
    clock: context.clock,
    everyMs: 250,
    report: (doneBytes) => context.emit({ type: 'step-progress', step: 'read-back', doneBytes, expectedBytes: file.sizeBytes }),
  })
  const reader = createDumpReader(expected.format === 'plain' ? 'plain' : 'custom', {
    fingerprint: expected.fingerprint !== null,
    settings: expected.fingerprint?.settings ?? null,
  })
  for await (const chunk of plainBytes(stored, outerCompressionOf(expected.fileName), { signal: context.signal, maxBytes: expected.plainBytes })) {
    reader.write(chunk)
    await reader.pending()
    yield chunk
  }
  const content = await reader.end()
  if (content.sizeBytes !== expected.plainBytes) {
    throw new Failure('integrity', `${expected.fileName} decompresses to ${content.sizeBytes} bytes; pg_dump wrote ${expected.plainBytes}`, {
      details: { object: expected.fileName },
    })
  }
  requireSame(expected, content)
  return content
}

function requireSame(expected: ExpectedDump, content: DumpContent): void {
  const difference = expected.fingerprint === null || content.fingerprint === null ? null : sameFingerprint(expected.fingerprint, content.fingerprint)
  if (difference !== null)
    throw new Failure('integrity', `${expected.fileName} does not hold what was dumped: ${difference}`, { details: { object: expected.fileName } })
}

/** The stored object that a failure of reading is about, where it names one. */
export function objectOf(failure: Failure): string | null {
  const object = failure.details['object'] ?? failure.details['key']
  return typeof object === 'string' ? object : null
}
