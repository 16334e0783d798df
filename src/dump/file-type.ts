/** What a file is, by its content; its name proves nothing. */
export type FileType = 'custom' | 'plain' | 'gzip' | 'zstd' | 'lz4' | 'xz' | 'bzip2' | 'tar' | 'zip' | 'age' | 'gpg' | 'empty' | 'unknown'

/** `fileType` needs this many bytes from the beginning of a file (fewer only when the file is shorter). */
export const fileTypeBytes = 4096

const signatures: readonly (readonly [FileType, number, readonly number[]])[] = [
  ['custom', 0, [...Buffer.from('PGDMP')]],
  ['gzip', 0, [0x1f, 0x8b]],
  ['zstd', 0, [0x28, 0xb5, 0x2f, 0xfd]],
  ['lz4', 0, [0x04, 0x22, 0x4d, 0x18]],
  ['xz', 0, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['bzip2', 0, [0x42, 0x5a, 0x68]],
  ['zip', 0, [0x50, 0x4b, 0x03, 0x04]],
  ['age', 0, [...Buffer.from('age-encryption.org/v')]],
  ['age', 0, [...Buffer.from('-----BEGIN AGE ENCRYPTED FILE-----')]],
  ['gpg', 0, [...Buffer.from('-----BEGIN PGP MESSAGE-----')]],
  ['tar', 257, [...Buffer.from('ustar')]],
]

/** Looks at the first bytes of a file. `custom` is also a toc.dat; `plain` is text that looks like SQL. */
export function fileType(head: Uint8Array): FileType {
  if (head.length === 0) return 'empty'
  for (const [type, offset, bytes] of signatures) if (bytes.every((byte, index) => head[offset + index] === byte)) return type
  // zstd files may begin with a skippable frame (0x184D2A50 to 0x184D2A5F).
  if (head.length >= 4 && (head[0] as number) >> 4 === 5 && head[1] === 0x2a && head[2] === 0x4d && head[3] === 0x18) return 'zstd'
  if (isOpenPgp(head)) return 'gpg'
  return looksLikeSql(head) ? 'plain' : 'unknown'
}

/** An OpenPGP packet that begins an encrypted message: a session key (tags 1 and 3), or encrypted data (9, 18, 20). */
function isOpenPgp(head: Uint8Array): boolean {
  const first = head[0] as number
  if ((first & 0x80) === 0) return false
  const tag = (first & 0x40) === 0 ? (first >> 2) & 0x0f : first & 0x3f
  // Session-key packets carry their version right behind the length; that tells them from any other binary file.
  const version = head[(first & 0x40) === 0 ? 1 + (1 << (first & 3)) : 2]
  if (tag === 1 || tag === 3) return version === 3 || version === 4 || version === 5 || version === 6
  return tag === 18 && head.length > 2
}

function looksLikeSql(head: Uint8Array): boolean {
  if (head.includes(0)) return false
  const text = Buffer.from(head.buffer, head.byteOffset, head.byteLength)
    .toString('latin1')
    .replace(/^\u00ef\u00bb\u00bf/, '')
  return /^\s*(?:--|\/\*|\\restrict\s|\\connect\s|(?:SET|SELECT|CREATE|COPY|BEGIN|START|INSERT|ALTER|DROP|COMMENT|GRANT|DO|TRUNCATE|LOCK)\b)/i.test(text)
}
