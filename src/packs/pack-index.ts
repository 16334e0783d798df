import { ByteReader } from './byte-reader.ts'
import { ByteWriter } from './byte-writer.ts'
import { keyKindOf, keyKinds, largestFrameBytes, type FrameLengths, type KeyKind } from './pack-format.ts'

/** Where each frame of a pack lies: docs/base-backups.md "Index". */
export interface IndexedPack {
  readonly id: Buffer
  readonly keyKind: KeyKind
  readonly epoch: number
  /** The object that holds it. */
  readonly key: string
  /** Of the first of these frames in the object. */
  readonly offset: number
  readonly objectBytes: number
  readonly frames: readonly FrameLengths[]
}

const magic = Buffer.from('TMINDX1\n', 'latin1')

export function encodeIndex(packs: readonly IndexedPack[]): Buffer {
  const writer = new ByteWriter(1 << 16)
  writer.bytes(magic)
  writer.varint(packs.length)
  for (const { id, keyKind, epoch, key, offset, objectBytes, frames } of packs) {
    writer.bytes(id)
    writer.byte(keyKinds[keyKind])
    writer.varint(epoch)
    writer.text(Buffer.from(key, 'utf8').toString('latin1'))
    writer.varint(offset)
    writer.varint(objectBytes)
    writer.varint(frames.length)
    for (const { stored, content } of frames) {
      writer.varint(stored)
      writer.varint(content)
    }
  }
  return Buffer.from(writer.written())
}

export function decodeIndex(content: Uint8Array, object: string): IndexedPack[] {
  const reader = new ByteReader(content, object)
  if (!reader.bytes(8).equals(magic)) throw reader.broken('it is no index of this format')
  const packs = Array.from({ length: reader.varint(reader.left / 24) }, () => decodePack(reader))
  reader.requireEnd()
  return packs
}

function decodePack(reader: ByteReader): IndexedPack {
  const id = Buffer.from(reader.bytes(16))
  const keyKind = keyKindOf(reader.byte())
  if (keyKind === undefined) throw reader.broken('a pack has a key of a kind that is not known')
  const epoch = reader.varint(0xffff_ffff)
  const key = Buffer.from(reader.text(1_024), 'latin1').toString('utf8')
  const offset = reader.varint()
  const objectBytes = reader.varint()
  const count = reader.varint(reader.left / 2)
  const frames: FrameLengths[] = []
  let end = offset
  for (let index = 0; index < count; index += 1) {
    const stored = reader.varint(2 * largestFrameBytes)
    frames.push({ stored, content: reader.varint(largestFrameBytes) })
    end += stored
  }
  if (end > objectBytes) throw reader.broken('a pack has more frames than bytes')
  return { id, keyKind, epoch, key, offset, objectBytes, frames }
}
