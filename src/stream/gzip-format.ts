/** The outside of gzip members (RFC 1952), and the extra field by which ours are known. */

const fixedHeaderBytes = 10
const trailerBytes = 8
/** Subfield `TM`: u32 LE length of the whole member, u32 LE number of the member in its file, from 0. */
const subfield = Buffer.from([0x54, 0x4d, 8, 0])
const extraBytes = subfield.length + 8
/** Bytes of a member of ours before its compressed data. */
export const ourHeaderBytes = fixedHeaderBytes + 2 + extraBytes

const flagExtra = 0b100

export function isGzip(head: Uint8Array): boolean {
  return head[0] === 0x1f && head[1] === 0x8b
}

/** A member as `zlib.gzip` makes it, with our subfield added. Decoders skip it; ours learns where the member ends. */
export function numberedMember(member: Buffer, number: number): Buffer {
  if (member.readUInt32BE(0) !== 0x1f8b0800) throw new Error('zlib made a gzip header with optional fields')
  const numbered = Buffer.allocUnsafeSlow(member.length + ourHeaderBytes - fixedHeaderBytes)
  member.copy(numbered, 0, 0, fixedHeaderBytes)
  numbered.writeUInt8(flagExtra, 3)
  numbered.writeUInt16LE(extraBytes, fixedHeaderBytes)
  subfield.copy(numbered, fixedHeaderBytes + 2)
  numbered.writeUInt32LE(numbered.length, ourHeaderBytes - 8)
  numbered.writeUInt32LE(number, ourHeaderBytes - 4)
  member.copy(numbered, ourHeaderBytes, fixedHeaderBytes)
  return numbered
}

/** What the subfield of a member of ours says, or undefined when these bytes begin something else. */
export function parseNumberedMember(head: Buffer): { readonly memberBytes: number; readonly number: number } | undefined {
  const ours =
    head.length >= ourHeaderBytes &&
    head.readUInt32BE(0) === 0x1f8b0800 + flagExtra &&
    head.readUInt16LE(fixedHeaderBytes) === extraBytes &&
    head.subarray(fixedHeaderBytes + 2, fixedHeaderBytes + 2 + subfield.length).equals(subfield)
  if (!ours) return undefined
  const memberBytes = head.readUInt32LE(ourHeaderBytes - 8)
  return memberBytes < ourHeaderBytes + trailerBytes ? undefined : { memberBytes, number: head.readUInt32LE(ourHeaderBytes - 4) }
}

/** Content bytes of a whole member, as its trailer says. */
export function contentBytesOf(member: Buffer): number {
  return member.readUInt32LE(member.length - 4)
}
