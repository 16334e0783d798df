import { existsSync, readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { proofSchema } from '../../src/drill/proof.ts'
import { backupFactsSchema } from '../../src/repository/backup.ts'
import { compressGzip } from '../../src/stream/gzip-members.ts'
import { compressZstd } from '../../src/stream/zstd-frames.ts'
import { referencePages } from '../../scripts/reference/pages.ts'
import { rooms } from '../../scripts/lint/rooms.mjs'
import { collect } from '../support/streams.ts'

const root = resolve(import.meta.dirname, '../..')
const design = readFileSync(join(root, 'docs/design.md'), 'utf8')
const source = (file: string) => readFileSync(join(root, 'src', file), 'utf8')

/** The part of the page from one heading to the next of any level. */
function section(heading: string): string {
  const start = design.indexOf(`# ${heading}`)
  if (start < 0) throw new Error(`docs/design.md has no section "${heading}"`)
  const next = design.indexOf('\n#', start)
  return design.slice(start, next < 0 ? undefined : next)
}

const literalsOf = (text: string, pattern: RegExp) => [...new Set([...text.matchAll(pattern)].map((match) => match[1] ?? ''))].toSorted()

/** Names of the properties of a JSON schema's objects, at any depth; not of the maps whose keys are free. */
function keysWithin(schema: object): string[] {
  return Object.entries(schema).flatMap(([name, inner]: [string, unknown]) => {
    if (typeof inner !== 'object' || inner === null) return []
    return [...(name === 'properties' ? Object.keys(inner) : []), ...Object.values(name === 'properties' ? inner : { inner }).flatMap((each: unknown) => (typeof each === 'object' && each !== null ? keysWithin(each) : []))]
  })
}

describe('docs/design.md is true to the code', () => {
  it('names every kind of commit entry, and no other', () => {
    const written = literalsOf(source('repository/commit-entry.ts'), /kind: z\.literal\('(\w+)'\)/g)
    const described = section('Commit log: what exists')
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .flatMap((line) => literalsOf(line.split('|')[1] ?? '', /`(\w+)`/g))
    expect(described.toSorted()).toEqual(written)
  })

  it('names every key of a commit entry, of a manifest and of a run record', () => {
    const entry = source('repository/commit-entry.ts')
    const keys = literalsOf(entry.slice(entry.indexOf('const common'), entry.indexOf('export const holderSchema')) + entry.slice(entry.indexOf('const entrySchema'), entry.indexOf('export type CommitEntry')), /(?:[{,]\s|^\s+)(\w+): /gm)
    for (const key of keys) expect(section('Commit log: what exists'), key).toContain(`\`${key}\``)
    const manifest = source('repository/manifest.ts')
    for (const key of literalsOf(manifest.slice(manifest.indexOf('const manifestSchema'), manifest.indexOf('export interface Manifest')), /^ {2}(\w+): /gm)) {
      expect(section('Manifest'), key).toMatch(new RegExp(`\`${key}[\`:]`))
    }
    for (const phase of literalsOf(source('restore/run-record.ts').split('phase: z.enum(')[1]?.split(')')[0] ?? '', /'(\w+)'/g)) expect(section('Run record'), phase).toContain(`\`${phase}\``)
  })

  it('leads to a page that names every fact of a backup', () => {
    const page = referencePages()['json.md'] ?? ''
    for (const key of Object.keys((z.toJSONSchema(backupFactsSchema) as { properties: object }).properties)) expect(page).toContain(`| \`${key}\` |`)
  })

  it('names every room, and every format number that is written', () => {
    for (const room of Object.keys(rooms)) expect(section('Rooms'), room).toContain(`\`${room}\``)
    for (const [file, format] of [
      ['repository/repository.ts', 'tidemark-repository/1'],
      ['repository/commit-entry.ts', 'tidemark-commit/1'],
      ['repository/manifest.ts', 'tidemark-manifest/1'],
      ['repository/lease.ts', 'tidemark-lease/1'],
      ['restore/run-record.ts', 'tidemark-run/1'],
      ['drill/proof.ts', 'tidemark-proof/1'],
      ['dump/fingerprint.ts', 'tidemark-fingerprint/1'],
    ] as const) {
      expect(source(file)).toContain(`'${format}'`)
      expect(design).toContain(format)
    }
  })

  it('gives for each verb a way on which every file imports the next', () => {
    const ways = section('Rooms').split('\n').filter((line) => line.startsWith('- `'))
    expect(ways.map((line) => line.split('`')[1])).toEqual(['backup', 'backup --type full', 'verify', 'restore', 'restore --into', 'export', 'repo gc', 'key add', 'drill'])
    for (const way of ways) {
      const files = literalsOf(way, /`([\w/-]+\.ts)`/g)
      for (const file of files) expect(existsSync(join(root, 'src', file)), file).toBe(true)
      const steps = [...(way.split(';')[0] ?? '').matchAll(/`([\w/-]+\.ts)`/g)].map((match) => match[1] ?? '')
      expect(steps.length).toBeGreaterThan(3)
      for (const [index, file] of steps.slice(1).entries()) expect(source(steps[index] ?? ''), `${steps[index]} → ${file}`).toContain(`/${basename(file)}'`)
    }
  })

  it('names every key of a fingerprint, a proof and a heartbeat', () => {
    const proof = section('Proof')
    for (const [key, schema] of Object.entries(proofSchema.shape)) {
      expect(proof, key).toMatch(new RegExp(`^\\| .*\`${key}\`.* \\|`, 'm'))
      for (const inner of keysWithin(z.toJSONSchema(schema))) expect(proof, `${key}.${inner}`).toMatch(new RegExp(`^\\| \`${key}\` \\|.*\\b${inner}\\b`, 'm'))
    }
    const fingerprint = source('dump/fingerprint.ts') + source('dump/sink.ts')
    for (const name of ['ContentFingerprint', 'TableFingerprint', 'LargeObjectsFingerprint', 'DerivedObject', 'NotCompared', 'SequenceValue']) {
      const start = fingerprint.indexOf(`export interface ${name} `)
      for (const key of literalsOf(fingerprint.slice(start, fingerprint.indexOf('\n}', start)), /^ {2}readonly (\w+): /gm)) {
        expect(section('Content fingerprint, version 1'), `${name}.${key}`).toMatch(new RegExp(`^\\| .*\\b${key}\\b`, 'm'))
      }
    }
    const heartbeat = /JSON\.stringify\((\{\s*format: 'tidemark-lease\/1'[^]*?\})\)/.exec(source('repository/lease.ts'))?.[1] ?? ''
    const keys = literalsOf(heartbeat, /[{,]\s+(\w+)/g)
    expect(keys).toContain('renewedAt')
    for (const key of keys) expect(section('Lease: who may write'), key).toContain(`"${key}": `)
  })

  it('describes the bytes that zstd and gzip files have', async () => {
    const page = section('Bytes of compressed files')
    const content = Buffer.alloc(1 << 20, 'a')
    const two = async function* () {
      yield content
      yield Buffer.from('b')
    }

    const zstd = await collect(compressZstd(two(), { level: 3, workers: 1 }))
    expect(page).toMatch(/1 MiB of content[\s\S]*eight bytes \(frame content size flag 3\)/)
    expect((zstd.readUInt8(4) >> 6) & 0b11).toBe(3)
    const footer = zstd.subarray(-9)
    expect([footer.readUInt32LE(0), footer.readUInt8(4), footer.readUInt32LE(5)]).toEqual([2, 0x80, 0x8f92eab1])
    const table = zstd.subarray(-(8 + 2 * 12 + 9))
    expect([table.readUInt32LE(0), table.readUInt32LE(4)]).toEqual([0x184d2a5e, 2 * 12 + 9])
    const [first, second] = [table.subarray(8, 20), table.subarray(20, 32)]
    expect([first.readUInt32LE(4), second.readUInt32LE(4)]).toEqual([content.length, 1])
    expect(first.readUInt32LE(0) + second.readUInt32LE(0) + table.length).toBe(zstd.length)
    expect(first.subarray(8)).toEqual(zstd.subarray(first.readUInt32LE(0) - 4, first.readUInt32LE(0)))
    for (const magic of ['0x184D2A5E', '0x8F92EAB1', '0x80']) expect(page).toContain(magic)

    const gzip = await collect(compressGzip(two(), { level: 6, workers: 1 }))
    let number = 0
    for (let at = 0; at < gzip.length; number++) {
      expect(gzip.subarray(at + 12, at + 16)).toEqual(Buffer.from([0x54, 0x4d, 8, 0]))
      expect(gzip.readUInt32LE(at + 20)).toBe(number)
      const end = at + gzip.readUInt32LE(at + 16)
      expect(gzip.readUInt32LE(end - 4)).toBe([content.length, 1, 0][number])
      at = end
    }
    expect(number).toBe(3)
    expect(page).toContain('"TM" (0x54 0x4D)')
  })

  it('says the numbers that the code has', () => {
    expect(source('repository/lease.ts')).toContain('heartbeatMs = 15_000')
    expect(source('repository/lease.ts')).toContain('leaseTtlMs = 120_000')
    expect(section('Lease: who may write')).toMatch(/every 15 s[\s\S]*under 120 s/)
  })
})
