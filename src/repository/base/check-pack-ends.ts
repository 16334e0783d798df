import { isFailure } from '../../kernel/failure.ts'
import { encodeHeader, encodeFooter, encodeTrailer, headerBytes, footerBytes, repositoryBytes } from '../../packs/pack-format.ts'
import type { CallOptions, StoredObject } from '../../storage/storage.ts'
import type { Repository } from '../repository.ts'
import type { PageProblem } from './check-pages.ts'
import type { OpenBaseBackup, PlacedPack } from './open-base-backup.ts'

/** Looks at what no page lies in: the size of each object, and header, trailer and footer of each pack that lies where it was born. Two small reads for each. */
export async function checkPackEnds(
  repository: Repository,
  backup: OpenBaseBackup,
  wants: (pack: number) => boolean,
  options: CallOptions,
): Promise<readonly PageProblem[]> {
  const problems: PageProblem[] = []
  for (const number of backup.tables.packs.keys()) {
    if (!wants(number)) continue
    const place = backup.pack(number)
    const found = await findProblem(repository, backup, { number, place }, options)
    if (found !== null) problems.push({ ...found, object: place.key, pack: number, frame: null })
  }
  return problems
}

async function findProblem(
  repository: Repository,
  backup: OpenBaseBackup,
  { number, place }: { readonly number: number; readonly place: PlacedPack },
  options: CallOptions,
): Promise<Pick<PageProblem, 'code' | 'message'> | null> {
  const { key, objectBytes } = place
  const object = await repository.storage.stat(key, options)
  if (object === undefined) return { code: 'object-missing', message: `${key} is gone, and with it pages that the backup needs` }
  if (object.sizeBytes !== objectBytes) return { code: 'integrity', message: `${key} has ${object.sizeBytes} bytes; ${objectBytes} were stored` }
  if (place.isMoved) return null
  const header = await readRange(repository, object, { offset: 0, length: headerBytes }, options)
  const { keyKind, epoch, id } = place
  if (!header.equals(encodeHeader({ keyKind, epoch, repository: repositoryBytes(repository.id), id })))
    return { code: 'integrity', message: `${key} does not begin as this pack does` }
  const end = place.frames.reduce((at, { stored }) => at + stored, place.offset)
  const ending = await readRange(repository, object, { offset: end, length: objectBytes - end }, options)
  return (await isItsEnding(backup, { number, place }, ending)) ? null : { code: 'integrity', message: `${key} does not end with the table of its frames` }
}

async function readRange(
  { storage }: Repository,
  { key, version }: StoredObject,
  range: { readonly offset: number; readonly length: number },
  options: CallOptions,
): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of storage.read(key, { ...options, ...range, ifVersion: version })) parts.push(part)
  return Buffer.concat(parts)
}

async function isItsEnding(
  backup: OpenBaseBackup,
  { number, place }: { readonly number: number; readonly place: PlacedPack },
  ending: Buffer,
): Promise<boolean> {
  const { frames } = place
  const trailer = ending.subarray(0, ending.length - footerBytes)
  if (!ending.subarray(trailer.length).equals(encodeFooter(trailer.length, frames.length))) return false
  try {
    const codec = await backup.codec(number)
    return codec.open(frames.length, trailer, { contentBytes: frames.length * 8, isLast: true }).equals(encodeTrailer(frames))
  } catch (error) {
    // Without its key nobody knows what the table says, but where it lies.
    if (isFailure(error, 'key-missing')) return true
    if (!isFailure(error, 'integrity')) throw error
    return false
  }
}
