import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Failure } from '../kernel/failure.ts'
import { crc32cHex, parseServerManifest, type ServerManifest } from '../../test/support/server-manifest.ts'
import { formatServerManifest } from './server-manifest-format.ts'
import { createServerManifestReader, type ManifestFile } from './server-manifest.ts'

const recorded: readonly string[] = [
  '{ "PostgreSQL-Backup-Manifest-Version": 2,',
  '"System-Identifier": 7710714104870806098,',
  '"Files": [',
  '{ "Path": "backup_label", "Size": 225, "Last-Modified": "2026-11-21 19:48:46 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "4a92e262" },',
  '{ "Encoded-Path": "62e9", "Size": 0, "Last-Modified": "2026-11-21 19:48:46 GMT" }',
  '],',
  '"WAL-Ranges": [',
  '{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000120" }',
  '],',
]

/** With the checksum that belongs to it. */
function sealed(lines: readonly string[]): Buffer {
  const content = `${lines.join('\n')}\n`
  return Buffer.from(`${content}"Manifest-Checksum": "${createHash('sha256').update(content).digest('hex')}"}\n`)
}

const replaced = (from: string | RegExp, to: string) => sealed(recorded.map((line) => line.replace(from, to)))
const written = (manifest: ServerManifest) => Buffer.concat([...formatServerManifest(manifest, manifest.files)])

describe('the manifest of a server', () => {
  it('is read with every file, its system identifier as text, and names of any encoding', () => {
    expect(parseServerManifest(sealed(recorded))).toEqual({
      version: 2,
      systemIdentifier: '7710714104870806098',
      files: [
        { path: 'backup_label', sizeBytes: 225, lastModified: '2026-11-21 19:48:46 GMT', checksum: { algorithm: 'CRC32C', hex: '4a92e262' } },
        { path: 'b\u00e9', sizeBytes: 0, lastModified: '2026-11-21 19:48:46 GMT', checksum: null },
      ],
      walRanges: [{ timeline: 1, startLsn: 0x2000028n, endLsn: 0x2000120n }],
    })
  })

  it('of version 1 has no system identifier', () => {
    const lines = recorded.map((line) => line.replace('Version": 2', 'Version": 1'))
    expect(parseServerManifest(sealed(lines.toSpliced(1, 1)))).toMatchObject({ version: 1, systemIdentifier: null })
    expect(() => parseServerManifest(sealed(lines))).toThrow('expected the line "Files": [')
    expect(() => parseServerManifest(sealed(recorded.toSpliced(1, 1)))).toThrow('should not be there')
  })

  it('is not believed when one byte differs, wherever it is', () => {
    const good = sealed(recorded)
    expect(() => parseServerManifest(good)).not.toThrow()
    for (let at = 0; at < good.length; at += 1) {
      const damaged = Buffer.from(good)
      damaged[at] = (damaged[at] ?? 0) ^ 1
      expect(() => parseServerManifest(damaged), String(at)).toThrow(Failure)
      expect(() => parseServerManifest(good.subarray(0, at)), String(at)).toThrow(Failure)
    }
    expect(() => parseServerManifest(Buffer.concat([good, Buffer.from('\n')]))).toThrow('behind its end')
    expect(() => parseServerManifest(Buffer.concat([good, Buffer.from(' ')]))).toThrow('cut')
  })

  it('is refused when it is sealed well and says what it should not', () => {
    const bad: readonly (readonly [Buffer, string])[] = [
      [replaced('Version": 2', 'Version": 3'), 'should not be there'],
      [replaced('backup_label', '../etc/passwd'), 'leads outside'],
      [replaced('backup_label', '/etc/passwd'), 'leads outside'],
      [replaced('backup_label', String.raw`a\u0000b`), 'leads outside'],
      [replaced('62e9', '2e2e'), 'leads outside'],
      [replaced('backup_label', String.raw`\ud800`), 'cannot be read'],
      [replaced('backup_label', String.raw`\x`), 'cannot be read'],
      [replaced('"Size": 225', '"Size": -1'), 'should not be there'],
      [replaced('"Size": 225', '"Size": 225, "Size": 1'), 'should not be there'],
      [replaced('4a92e262', '4a92e2'), 'checksum of backup_label'],
      [replaced('CRC32C', 'MD5'), 'checksum of backup_label'],
      [replaced('0/2000120', '0/2000020'), 'needs WAL from'],
      [replaced('"Timeline": 1', '"Timeline": 0'), 'needs WAL from'],
      [sealed(recorded.toSpliced(3, 0, `{ "Path": "${'x'.repeat(20_000)}" },`)), 'should not be there'],
    ]
    for (const [bytes, why] of bad) expect(() => parseServerManifest(bytes), why).toThrow(why)
    const latin = Buffer.from(sealed(recorded).toString().replace('backup_label', 'b\u00e9'), 'latin1')
    expect(() => parseServerManifest(latin)).toThrow('not UTF-8')
  })

  it('is read in pieces of any size, without keeping more than a line', () => {
    const good = sealed(recorded)
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), (size) => {
        const files: ManifestFile[] = []
        const reader = createServerManifestReader((file) => void files.push(file))
        for (let offset = 0; offset < good.length; offset += size) reader.write(good.subarray(offset, offset + size))
        expect({ ...reader.finish(), files }).toEqual(parseServerManifest(good))
      }),
    )
    const endless = createServerManifestReader(() => undefined)
    expect(() => {
      for (let turn = 0; turn < 100; turn += 1) endless.write(Buffer.alloc(1000, 'x'))
    }).toThrow('too long')
  })

  it('is written byte for byte as the server wrote it', () => {
    expect(written(parseServerManifest(sealed(recorded))).equals(sealed(recorded))).toBe(true)
  })

  it('is read as it was written, whatever the names', () => {
    const segment = fc.uint8Array({ minLength: 1, maxLength: 8 }).map((bytes) =>
      Buffer.from(bytes)
        .toString('latin1')
        .replaceAll(/[\0/]|^\.+$/g, 'x'),
    )
    fc.assert(
      fc.property(fc.uniqueArray(segment, { minLength: 1, maxLength: 5 }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (names, identifier) => {
        const files = names.map((name, index) => ({
          path: `base/${name}`,
          sizeBytes: index,
          lastModified: 'never',
          checksum: { algorithm: 'CRC32C', hex: crc32cHex(index) } as const,
        }))
        const manifest: ServerManifest = {
          version: 2,
          systemIdentifier: String(identifier),
          walRanges: [{ timeline: 1, startLsn: 1n, endLsn: identifier + 1n > 2n ** 64n - 1n ? identifier : identifier + 1n }],
          files,
        }
        expect(parseServerManifest(written(manifest))).toEqual(manifest)
      }),
    )
  })

  it('holds a CRC-32C in the byte order of the server', () => {
    expect(crc32cHex(0xe3069283)).toBe('839206e3')
  })
})
