import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { backupFactsSchema } from '../../src/repository/backup.ts'
import { referencePages } from '../../scripts/reference/pages.ts'
import { rooms } from '../../scripts/lint/rooms.mjs'

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
    ] as const) {
      expect(source(file)).toContain(`'${format}'`)
      expect(design).toContain(format)
    }
  })

  it('says the numbers that the code has', () => {
    expect(source('repository/lease.ts')).toContain('heartbeatMs = 15_000')
    expect(source('repository/lease.ts')).toContain('leaseTtlMs = 120_000')
    expect(section('Lease: who may write')).toMatch(/every 15 s[\s\S]*under 120 s/)
  })
})
