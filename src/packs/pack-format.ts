import { randomBytes } from 'node:crypto'
import { Failure } from '../kernel/failure.ts'

/** The outer bytes of a pack: docs/base-backups.md "Pack". */

const headerMagic = Buffer.from('TMPACK1\n', 'latin1')
const footerMagic = Buffer.from('TMPKEND\n', 'latin1')
export const headerBytes = 64
export const footerBytes = 16
/** Whose key seals the frames of a pack. */
export const keyKinds = { none: 0, run: 1, metadata: 2 } as const
export type KeyKind = keyof typeof keyKinds

/** Undefined for a number that stands for none. */
export const keyKindOf = (stored: number | undefined): KeyKind | undefined => (Object.keys(keyKinds) as KeyKind[]).find((kind) => keyKinds[kind] === stored)

/** Content of a frame of pages; those of leaves, indexes and roots may have more. */
export const pageFrameBytes = 1 << 20
export const largestFrameBytes = 4 << 20
export const largestFrameCount = 4_096
/** A pack is closed when it has this much, or `largestFrameCount` frames. */
export const packBytes = 32 << 20

/** What a frame is bound to: whoever moves it elsewhere cannot open it there. */
export interface PackIdentity {
  /** The repository's id, 16 bytes. */
  readonly repository: Buffer
  /** Random, 16 bytes. */
  readonly id: Buffer
}

export interface PackHeader extends PackIdentity {
  readonly keyKind: KeyKind
  /** Which metadata key; 0 for others. */
  readonly epoch: number
}

export interface FrameLengths {
  readonly stored: number
  readonly content: number
}

export const newPackId = (): Buffer => randomBytes(16)

export function encodeHeader({ keyKind, epoch, repository, id }: PackHeader): Buffer {
  const header = Buffer.alloc(headerBytes)
  headerMagic.copy(header)
  header.writeUInt8(keyKinds[keyKind], 8)
  header.writeUInt32LE(epoch, 12)
  repository.copy(header, 16)
  id.copy(header, 32)
  return header
}

/** `object` is named in the failure. */
export function decodeHeader(bytes: Buffer, object: string): PackHeader {
  const keyKind = keyKindOf(bytes[8])
  if (bytes.length < headerBytes || !bytes.subarray(0, 8).equals(headerMagic) || keyKind === undefined) {
    throw new Failure('integrity', `${object} is no pack of this format`, { details: { object } })
  }
  return { keyKind, epoch: bytes.readUInt32LE(12), repository: Buffer.from(bytes.subarray(16, 32)), id: Buffer.from(bytes.subarray(32, 48)) }
}

/** Content of the last frame: the lengths of all before it. */
export function encodeTrailer(frames: readonly FrameLengths[]): Buffer {
  const trailer = Buffer.allocUnsafeSlow(frames.length * 8)
  for (const [index, { stored, content }] of frames.entries()) {
    trailer.writeUInt32LE(stored, index * 8)
    trailer.writeUInt32LE(content, index * 8 + 4)
  }
  return trailer
}

export function decodeTrailer(content: Buffer): readonly FrameLengths[] {
  return Array.from({ length: content.length / 8 }, (_, index) => ({ stored: content.readUInt32LE(index * 8), content: content.readUInt32LE(index * 8 + 4) }))
}

export function encodeFooter(trailerBytes: number, frames: number): Buffer {
  const footer = Buffer.alloc(footerBytes)
  footer.writeUInt32LE(trailerBytes, 0)
  footer.writeUInt32LE(frames, 4)
  footerMagic.copy(footer, 8)
  return footer
}

export function decodeFooter(footer: Buffer, object: string): { readonly trailerBytes: number; readonly frames: number } {
  if (footer.length !== footerBytes || !footer.subarray(8).equals(footerMagic)) {
    throw new Failure('integrity', `${object} was cut, or is no pack: it does not end as a pack does`, { details: { object } })
  }
  return { trailerBytes: footer.readUInt32LE(0), frames: footer.readUInt32LE(4) }
}

/** A repository's id, 32 hexadecimal digits, as the 16 bytes that frames are bound to. */
export const repositoryBytes = (id: string): Buffer => Buffer.from(id, 'hex')
