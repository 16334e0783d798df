import { gzipSync, zstdCompressSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { fileType } from './file-type.ts'

test.each([
  ['empty', Buffer.alloc(0)],
  ['custom', Buffer.from('PGDMP\u0001\u000e')],
  ['plain', Buffer.from('--\n-- PostgreSQL database dump\n--\n')],
  ['plain', Buffer.from('\u00ef\u00bb\u00bfSET statement_timeout = 0;', 'latin1')],
  ['plain', Buffer.from('\\restrict abc\n')],
  ['gzip', gzipSync('SELECT 1')],
  ['zstd', zstdCompressSync('SELECT 1')],
  ['zstd', Buffer.from([0x5e, 0x2a, 0x4d, 0x18, 0, 0, 0, 0])],
  ['age', Buffer.from('age-encryption.org/v1\n-> X25519 abc')],
  ['age', Buffer.from('-----BEGIN AGE ENCRYPTED FILE-----\n')],
  ['gpg', Buffer.from('-----BEGIN PGP MESSAGE-----\n')],
  // gpg --symmetric: a session-key packet of version 4, in the old and in the new form.
  ['gpg', Buffer.from([0x8c, 0x0d, 0x04, 0x09, 0x03])],
  ['gpg', Buffer.from([0xc3, 0x0d, 0x04, 0x09, 0x03])],
  ['gpg', Buffer.from([0x85, 0x01, 0x0c, 0x03, 0x11])],
  ['tar', Buffer.concat([Buffer.alloc(257, 'a'), Buffer.from('ustar\0')])],
  ['unknown', Buffer.from('hello')],
  ['unknown', Buffer.from([0xff, 0xd8, 0xff, 0xe0])],
  ['unknown', Buffer.from('SELECT 1\0')],
] as const)('%s is told by its first bytes', (type, head) => {
  expect(fileType(head)).toBe(type)
})
