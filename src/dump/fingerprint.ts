import { Failure } from '../kernel/failure.ts'
import type { QualifiedName, SequenceValue } from './sink.ts'

/** A reader that meets another number refuses it. */
export const fingerprintFormat = 'tidemark-fingerprint/1'

/**
 * What a dump holds, as its snapshot held it. Two fingerprints are compared table by table (`compare.ts`); one is taken
 * from the dump, the other from a restored copy (`read-back.ts`).
 */
export interface ContentFingerprint {
  readonly format: typeof fingerprintFormat
  /** Encoding of the COPY text (PostgreSQL's name). */
  readonly encoding: string
  /** Session settings the text was written with; null when we did not start pg_dump ourselves. */
  readonly settings: Readonly<Record<string, string>> | null
  readonly tables: readonly TableFingerprint[]
  readonly largeObjects: LargeObjectsFingerprint
  readonly sequences: readonly SequenceValue[]
  /** Objects whose content follows from the rest: checked for presence and validity. */
  readonly derived: readonly DerivedObject[]
  /** Content of the dump that is not fingerprinted, and why. A proof is `partial` when there is any. */
  readonly notCompared: readonly NotCompared[]
}

export interface TableFingerprint extends QualifiedName {
  /** In the order of the COPY text; null when the statement names none. */
  readonly columns: readonly string[] | null
  readonly rows: number
  /** Bytes of COPY text, line ends included, end marker not. */
  readonly bytes: number
  /** BLAKE3-256 in hex over the COPY lines in file order, each with its line feed. */
  readonly digest: string
  /** Set when the rows are loaded through this partitioned table and may end in another partition. */
  readonly viaRoot: QualifiedName | null
}

export interface LargeObjectsFingerprint {
  readonly count: number
  readonly bytes: number
  /** Sum modulo 2²⁵⁶ (hex, least significant byte first) of BLAKE3-256 over OID (u32 LE), length (u64 LE) and BLAKE3-256 of the content. */
  readonly digest: string
}

export interface DerivedObject {
  /** pg_dump's name of its kind: `INDEX`, `MATERIALIZED VIEW`, `FK CONSTRAINT`, … */
  readonly desc: string
  readonly schema: string
  /** pg_dump's name of it; constraints, triggers, defaults and the like begin with their table and a space. */
  readonly tag: string
  /** Materialised views: whether the dump fills it. */
  readonly populated: boolean | null
}

export interface NotCompared {
  readonly what: string
  readonly why: string
}

/** Reads a stored fingerprint; anything but the exact form is an `integrity` failure. */
export function parseFingerprint(json: unknown): ContentFingerprint {
  const root = recordOf(json, 'fingerprint')
  if (root['format'] !== fingerprintFormat) {
    throw new Failure(
      'repository-format',
      `the fingerprint has format ${JSON.stringify(root['format'])?.slice(0, 60)}; this version knows ${fingerprintFormat}`,
      { hints: ['update Tidemark'] },
    )
  }
  const largeObjects = recordOf(root['largeObjects'], 'largeObjects')
  return {
    format: fingerprintFormat,
    encoding: textOf(root['encoding'], 'encoding'),
    settings: root['settings'] === null ? null : settingsOf(root['settings']),
    tables: listOf(root['tables'], 'tables', tableOf),
    largeObjects: {
      count: countOf(largeObjects['count'], 'largeObjects.count'),
      bytes: countOf(largeObjects['bytes'], 'largeObjects.bytes'),
      digest: digestOf(largeObjects['digest'], 'largeObjects.digest'),
    },
    sequences: listOf(root['sequences'], 'sequences', sequenceOf),
    derived: listOf(root['derived'], 'derived', derivedOf),
    notCompared: listOf(root['notCompared'], 'notCompared', (item, at) => ({
      what: textOf(item['what'], `${at}.what`),
      why: textOf(item['why'], `${at}.why`),
    })),
  }
}

type Json = Readonly<Record<string, unknown>>

function tableOf(item: Json, at: string): TableFingerprint {
  const columns = item['columns']
  const viaRoot = item['viaRoot']
  return {
    ...nameOf(item, at),
    columns: columns === null ? null : textsOf(columns, `${at}.columns`),
    rows: countOf(item['rows'], `${at}.rows`),
    bytes: countOf(item['bytes'], `${at}.bytes`),
    digest: digestOf(item['digest'], `${at}.digest`),
    viaRoot: viaRoot === null ? null : nameOf(recordOf(viaRoot, `${at}.viaRoot`), `${at}.viaRoot`),
  }
}

function sequenceOf(item: Json, at: string): SequenceValue {
  const lastValue = textOf(item['lastValue'], `${at}.lastValue`)
  if (!/^-?\d{1,19}$/.test(lastValue)) throw wrong(`${at}.lastValue`, 'a 64-bit integer')
  return { ...nameOf(item, at), lastValue, isCalled: booleanOf(item['isCalled'], `${at}.isCalled`) }
}

function derivedOf(item: Json, at: string): DerivedObject {
  const populated = item['populated']
  return {
    desc: textOf(item['desc'], `${at}.desc`),
    schema: textOf(item['schema'], `${at}.schema`),
    tag: textOf(item['tag'], `${at}.tag`),
    populated: populated === null ? null : booleanOf(populated, `${at}.populated`),
  }
}

function nameOf(item: Json, at: string): QualifiedName {
  return { schema: textOf(item['schema'], `${at}.schema`), name: textOf(item['name'], `${at}.name`) }
}

function settingsOf(value: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(recordOf(value, 'settings')).map(([name, setting]) => [name, textOf(setting, `settings.${name}`)]))
}

function recordOf(value: unknown, at: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(at, 'an object')
  return value as Json
}

function listOf<T>(value: unknown, at: string, itemOf: (item: Json, at: string) => T): T[] {
  if (!Array.isArray(value)) throw wrong(at, 'a list')
  return value.map((item, index) => itemOf(recordOf(item, `${at}[${index}]`), `${at}[${index}]`))
}

function textsOf(value: unknown, at: string): string[] {
  if (!Array.isArray(value)) throw wrong(at, 'a list')
  return value.map((item, index) => textOf(item, `${at}[${index}]`))
}

function textOf(value: unknown, at: string): string {
  if (typeof value !== 'string') throw wrong(at, 'a text')
  return value
}

function booleanOf(value: unknown, at: string): boolean {
  if (typeof value !== 'boolean') throw wrong(at, 'true or false')
  return value
}

function countOf(value: unknown, at: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw wrong(at, 'a count')
  return value
}

function digestOf(value: unknown, at: string): string {
  if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value)) throw wrong(at, 'a digest')
  return value
}

function wrong(at: string, wanted: string): Failure {
  return new Failure('integrity', `the stored fingerprint is not what Tidemark writes: ${at} is not ${wanted}`, { details: { field: at } })
}
