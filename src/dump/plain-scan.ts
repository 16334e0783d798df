import { Failure } from '../kernel/failure.ts'
import { parseCopyStatement, parseLoadViaRoot, parseSetval, type CopyStatement } from './copy-statement.ts'
import { derivedObjects, type NamedObject } from './derived-objects.ts'
import { cutOff, malformed } from './faults.ts'
import type { DerivedObject } from './fingerprint.ts'
import { createPlainLexer, type ByteSpan } from './plain-lexer.ts'
import { createPlainReach, type PlainReach } from './plain-reach.ts'
import type { ByteSink, DumpSink, QualifiedName } from './sink.ts'
import { textDecoder } from './text-encoding.ts'
import { displayName } from './toc-content.ts'

export interface PlainScan {
  /** `several`: dumps joined into one file; `cluster`: what pg_dumpall writes. Only `database` can be restored and compared as one database. */
  readonly kind: 'database' | 'several' | 'cluster'
  readonly encoding: string
  readonly serverVersion: string | null
  readonly dumpVersion: string | null
  /** Things that no dump of ours holds and that a person should see before psql does. */
  readonly findings: readonly PlainFinding[]
  /** The texts of those findings that psql would act on: a program or command would run on the restoring machine. */
  readonly suspicious: readonly string[]
  /** What it does beyond the database that it is loaded into. */
  readonly reach: PlainReach
  /** What its comments name: tables, views, indexes, … */
  readonly derived: readonly DerivedObject[]
  readonly sizeBytes: number
}

export interface PlainFinding {
  readonly kind: 'psql-command' | 'program' | 'no-standard-strings' | 'line-ends'
  readonly text: string
  readonly offset: number
}

export interface PlainScanner {
  /** Takes the next bytes; they are not kept. */
  write(chunk: Uint8Array): void
  pending(): undefined
  /** Resolves when the dump is complete up to its end marker; else rejects with `dump-empty` or `integrity`. */
  end(): Promise<PlainScan>
}

const findingsLimit = 100
const objectHeader = /^-- (Data for )?Name: (.*); Type: ([A-Z ]+); Schema: (.*?); Owner: /su

/** Scans the plain SQL that pg_dump writes: COPY sections, large objects, sequence values, the end marker. */
export function createPlainScanner(sink: DumpSink): PlainScanner {
  const findings: PlainFinding[] = []
  const objects: NamedObject[] = []
  const reach = createPlainReach()
  const inserts = new Map<string, number>()
  let encoding = 'UTF8'
  let decode = textDecoder(encoding)
  let serverVersion: string | null = null
  let dumpVersion: string | null = null

  const ends = { cluster: false, clusterEnded: false, begun: 0, ended: 0 }
  let restrictKey: string | null = null
  /** What stands behind the end marker although nothing may. */
  let follower: { text: string; offset: number } | null = null

  let dataHeader: QualifiedName | null = null
  let rootComment: QualifiedName | null = null
  let rows: ByteSink | null = null
  let object: ByteSink | null = null
  let objectIsOpen = false

  const found = (kind: PlainFinding['kind'], text: string) => {
    if (findings.length < findingsLimit) findings.push({ kind, text: text.slice(0, 200), offset: lexer.offset() })
  }

  const noteFollower = (text: string) => {
    if (ends.ended > 0) follower ??= { text: text.slice(0, 80), offset: lexer.offset() }
  }

  const comment = (text: string) => {
    if (text === '-- PostgreSQL database dump') ends.begun += 1
    else if (text === '-- PostgreSQL database dump complete') ends.ended += 1
    else if (text === '-- PostgreSQL database cluster dump') ends.cluster = true
    else if (text === '-- PostgreSQL database cluster dump complete') ends.clusterEnded = true
    else if (text.startsWith('-- Dumped from database version ')) serverVersion ??= text.slice(32)
    else if (text.startsWith('-- Dumped by pg_dump version ')) dumpVersion ??= text.slice(29)
    else if (text.startsWith('-- load via partition root ')) rootComment = parseLoadViaRoot(text) ?? null
    else {
      const [, data, name, type, schema] = objectHeader.exec(text) ?? []
      if (name === undefined || type === undefined || schema === undefined) return
      const named = { schema: schema === '-' ? '' : schema, name }
      dataHeader = data !== undefined && type === 'TABLE DATA' ? named : null
      rootComment = null
      objects.push({ desc: type, schema: named.schema, tag: name })
    }
  }

  const metaCommand = (text: string, span: ByteSpan, isInside: boolean) => {
    const [name = '', argument = ''] = /^\\(\S*)\s*(.*)$/su.exec(text.trimEnd())?.slice(1) ?? []
    if (!isInside && name === 'restrict' && restrictKey === null && /^[A-Za-z0-9]+$/.test(argument)) restrictKey = argument
    else if (!isInside && name === 'unrestrict' && restrictKey !== null && argument === restrictKey) restrictKey = null
    else {
      if (isInside || !reach.command(text, span)) found('psql-command', text)
      noteFollower(text)
    }
  }

  const beginCopy = (copy: CopyStatement) => {
    const name = sectionName(copy.target)
    const section = { dumpId: null, ...name.table, columns: copy.columns, viaRoot: name.viaRoot }
    if (copy.isPlainText) rows = sink.table(section)
    else sink.notCompared(displayName(name.table), 'its rows are not in the text format of COPY')
    dataHeader = null
    rootComment = null
  }

  /** The comment above names the leaf when its rows are loaded through the root; line ends in names are spaces there. */
  const sectionName = (target: QualifiedName): { table: QualifiedName; viaRoot: QualifiedName | null } => {
    const header = dataHeader
    if (header !== null && rootComment !== null) return { table: header, viaRoot: rootComment }
    const isSame = header === null || (oneLine(target.name) === header.name && oneLine(target.schema) === header.schema)
    return isSame ? { table: target, viaRoot: null } : { table: header, viaRoot: target }
  }

  const setting = (text: string) => {
    const [, name, value] = /^SET (client_encoding|standard_conforming_strings) = '?(\w+)'?;$/.exec(text) ?? []
    if (name === 'client_encoding' && value !== undefined) decode = textDecoder((encoding = value))
    if (name === 'standard_conforming_strings') {
      lexer.setStandardStrings(value === 'on')
      if (value !== 'on') found('no-standard-strings', text)
    }
  }

  const insert = (text: string) => {
    const name = /^INSERT INTO ((?:"(?:[^"]|"")*"|[^\s"(.]+)(?:\.(?:"(?:[^"]|"")*"|[^\s"(.]+))?)/u.exec(text)?.[1] ?? 'a table'
    inserts.set(name, (inserts.get(name) ?? 0) + 1)
  }

  const statement = (bytes: Buffer, isWhole: boolean, span: ByteSpan): boolean => {
    const head = bytes.toString('latin1', 0, Math.min(bytes.length, 40)).toUpperCase()
    for (const command of reach.statement(bytes, { isWhole, decode, span })) found('psql-command', command)
    if (ends.ended > 0) noteFollower(decode(bytes.subarray(0, 80)))
    if (/^COPY\s/.test(head)) {
      if (!isWhole) throw malformed('a COPY statement is longer than 1 MiB', lexer.offset())
      const text = decode(bytes)
      const copy = parseCopyStatement(text)
      if (copy !== undefined) beginCopy(copy)
      else if (/\bstdin\b/i.test(text)) throw malformed(`cannot understand the statement ${text.slice(0, 80)}`, lexer.offset())
      else found('program', text)
      return copy !== undefined
    }
    if (head.startsWith('SELECT PG_CATALOG.')) select(bytes, isWhole)
    else if (head.startsWith('SET ')) setting(bytes.toString('latin1').slice(0, 200))
    else if (head.startsWith('INSERT INTO ')) insert(decode(bytes.subarray(0, 600)))
    return false
  }

  const select = (bytes: Buffer, isWhole: boolean) => {
    const text = bytes.toString('latin1', 0, Math.min(bytes.length, 100))
    const name = /^SELECT pg_catalog\.(\w+)\(/.exec(text)?.[1]
    if (name === 'setval') {
      const value = parseSetval(decode(bytes))
      if (value === undefined) sink.notCompared('a sequence', `its value is not set the way pg_dump does it: ${text}`)
      else sink.sequence(value)
    } else if (name === 'lo_open') {
      const oid = Number(/^SELECT pg_catalog\.lo_open\('?(\d{1,10})'?, \d+\);$/.exec(text)?.[1])
      if (!Number.isInteger(oid) || objectIsOpen) throw malformed(`cannot understand the statement ${text}`, lexer.offset())
      objectIsOpen = true
      object = sink.largeObject(oid)
    } else if (name === 'lowrite') {
      if (!isWhole || !objectIsOpen) throw malformed('a piece of a large object stands where none can be', lexer.offset())
      object?.bytes(hexLiteral(bytes, lexer.offset()))
    } else if (name === 'lo_close') {
      object?.end()
      object = null
      objectIsOpen = false
    }
  }

  const lexer = createPlainLexer({
    statement,
    comment: (bytes) => comment(withoutReturn(decode(bytes), found)),
    metaCommand: (bytes, span, isInside) => metaCommand(decode(bytes), span, isInside),
    copyBytes: (piece) => rows?.bytes(piece),
    copyEnd: () => {
      rows?.end()
      rows = null
    },
  })

  const suspicious = () => findings.filter(({ kind }) => kind === 'psql-command' || kind === 'program').map(({ text }) => text)

  const checkEnd = () => {
    const inside = lexer.end()
    const sizeBytes = lexer.offset()
    if (sizeBytes === 0) throw new Failure('dump-empty', 'the dump is empty', { hints: ['run the dump again and read what pg_dump says'] })
    if (inside !== null) throw cutOff(`it ends inside ${inside}`, sizeBytes)
    if (objectIsOpen) throw cutOff('it ends inside a large object', sizeBytes)
    if (ends.cluster ? !ends.clusterEnded : ends.ended === 0) throw cutOff('its end marker is missing', sizeBytes)
    if (ends.begun > ends.ended) throw cutOff('the end marker of its last part is missing', sizeBytes)
    if (restrictKey !== null) throw cutOff('its last line (\\unrestrict) is missing', sizeBytes)
  }

  return {
    write: lexer.write,
    pending: () => undefined,
    end: async () => {
      checkEnd()
      for (const command of reach.end()) found('psql-command', command)
      const kind = ends.cluster ? 'cluster' : ends.ended > 1 ? 'several' : 'database'
      if (kind === 'database' && follower !== null) throw malformed(`behind its end marker follows ${JSON.stringify(follower.text)}`, follower.offset)
      for (const [name, count] of inserts) sink.notCompared(name, `its rows are ${count} INSERT statements`)
      if (kind !== 'database')
        sink.notCompared('the whole file', kind === 'cluster' ? 'it holds several databases (pg_dumpall)' : 'it is several dumps in one file')
      return {
        kind,
        encoding,
        serverVersion,
        dumpVersion,
        findings,
        suspicious: suspicious(),
        reach: reach.result(),
        derived: derivedObjects(objects),
        sizeBytes: lexer.offset(),
      }
    },
  }
}

function oneLine(name: string): string {
  return name.replaceAll(/[\n\r]/g, ' ')
}

function withoutReturn(text: string, found: (kind: 'line-ends', text: string) => void): string {
  if (!text.endsWith('\r')) return text
  found('line-ends', 'lines end with CR LF, so the rows are not what pg_dump wrote')
  return text.slice(0, -1)
}

/** The bytes of `SELECT pg_catalog.lowrite(0, '\x…');`. */
function hexLiteral(bytes: Buffer, offset: number): Buffer {
  const from = bytes.indexOf('\\x') + 2
  const to = bytes.lastIndexOf("'")
  const content = from >= 2 && to >= from ? Buffer.from(bytes.toString('latin1', from, to), 'hex') : undefined
  if (content === undefined || content.length * 2 !== to - from) throw malformed('a piece of a large object is not written in hexadecimal', offset)
  return content
}

/** Scans a whole plain dump from a source of bytes. */
export async function scanPlain(source: AsyncIterable<Uint8Array>, sink: DumpSink): Promise<PlainScan> {
  const scanner = createPlainScanner(sink)
  for await (const chunk of source) scanner.write(chunk)
  return scanner.end()
}
