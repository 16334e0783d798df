import { createReadStream } from 'node:fs'
import { scanArchive } from '../dump/archive-scan.ts'
import { compareContent, multisetsOfDump, type ContentVerdict, type TableVerdict } from '../dump/compare.ts'
import { localDumpFiles, scanDirectory } from '../dump/directory-scan.ts'
import type { ContentFingerprint } from '../dump/fingerprint.ts'
import { scanPlain } from '../dump/plain-scan.ts'
import { multisetOfCopy, readBack } from '../dump/read-back.ts'
import type { DumpSink } from '../dump/sink.ts'
import type { Context } from '../kernel/context.ts'
import { qualifiedName, quoteIdentifier } from '../postgres/identifiers.ts'
import type { Session } from '../postgres/session.ts'
import type { StagedDump } from './staged-dump.ts'

/** How a restored copy was found to be. */
export interface Validation {
  readonly how: 'content' | 'rows' | 'none'
  readonly outcome: 'equal' | 'partial' | 'different'
  readonly tables: readonly {
    readonly schema: string
    readonly name: string
    readonly rows: number | null
    readonly restoredRows: number | null
    readonly match: boolean
  }[]
  readonly problems: readonly { readonly object: string; readonly message: string }[]
  readonly notCompared: readonly { readonly what: string; readonly why: string }[]
  readonly verdict: ContentVerdict | null
}

export const notValidated: Validation = {
  how: 'none',
  outcome: 'partial',
  tables: [],
  problems: [],
  notCompared: [{ what: 'everything', why: 'validation was not wanted' }],
  verdict: null,
}

/** Reads the whole copy back with the archive's own COPY and compares it with the fingerprint; where order differs, the staged dump is read again row by row. */
export async function compareWithFingerprint(
  sessions: readonly Session[],
  expected: ContentFingerprint,
  staged: StagedDump,
  context: Context,
): Promise<Validation> {
  const [session] = sessions
  if (session === undefined) throw new Error('comparing needs a session')
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'compare', subject: session.database, expectedBytes: expected.tables.reduce((sum, table) => sum + table.bytes, 0) })
  const copy = await readBack(sessions, expected, context)
  const verdict = await compareContent(expected, copy, {
    dump: (requests) => multisetsOfDump(requests, (sink) => scanStaged(staged, sink, context.signal)),
    copy: (request) => multisetOfCopy(session, { ...request, encoding: expected.encoding }),
  })
  const rows = expected.tables.reduce((sum, table) => sum + table.rows, 0)
  context.emit({
    type: 'step-ended',
    step: 'compare',
    subject: session.database,
    durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
    doneBytes: copy.tables.reduce((sum, table) => sum + (table.state === 'read' ? table.bytes : 0), 0),
    note: `${expected.tables.length} tables, ${rows} rows, ${verdict.problems.length} differences`,
  })
  return {
    how: 'content',
    outcome: verdict.outcome,
    tables: verdict.tables.map(shortTable),
    problems: verdict.problems,
    notCompared: verdict.notCompared,
    verdict,
  }
}

function shortTable({ schema, name, rows, restoredRows, match }: TableVerdict): Validation['tables'][number] {
  return { schema, name, rows, restoredRows, match }
}

function scanStaged(staged: StagedDump, sink: DumpSink, signal: AbortSignal): Promise<unknown> {
  if (staged.format === 'directory') return scanDirectory(localDumpFiles(staged.path), sink, { signal })
  const bytes = createReadStream(staged.path, { highWaterMark: 1024 * 1024, signal })
  return staged.format === 'plain' ? scanPlain(bytes, sink) : scanArchive(bytes, sink)
}

/** Counts the rows of every table of the dump in the copy. Says nothing about their content. */
export async function countRows(
  session: Session,
  expected: readonly { schema: string; name: string; rows: number | null }[],
  context: Context,
): Promise<Validation> {
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'validate', subject: session.database, expectedBytes: null })
  const there = new Set(
    (
      await session.query<{ name: string }>(
        `SELECT pg_catalog.format('%s.%s', n.nspname, c.relname) AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'f')`,
      )
    ).map((row) => row.name),
  )
  const tables: Validation['tables'][number][] = []
  for (const { schema, name, rows } of expected) {
    context.signal.throwIfAborted()
    let restoredRows: number | null = null
    if (there.has(`${schema}.${name}`)) {
      const [row] = await session.query<{ rows: string }>(`SELECT count(*) AS rows FROM ${quoteIdentifier(schema)}.${quoteIdentifier(name)}`)
      restoredRows = Number(row?.rows ?? Number.NaN)
    }
    tables.push({ schema, name, rows, restoredRows, match: restoredRows !== null && (rows === null || rows === restoredRows) })
  }
  const problems = tables
    .filter((table) => !table.match)
    .map((table) => ({
      object: qualifiedName(table.schema, table.name),
      message: table.restoredRows === null ? 'the table is missing in the restored copy' : `it has ${table.restoredRows} rows, the dump holds ${table.rows}`,
    }))
  context.emit({
    type: 'step-ended',
    step: 'validate',
    subject: session.database,
    durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
    doneBytes: null,
    note: `${tables.length} tables counted`,
  })
  return {
    how: 'rows',
    outcome: problems.length > 0 ? 'different' : 'equal',
    tables,
    problems,
    notCompared: [{ what: 'the content of rows', why: 'only counts were compared' }],
    verdict: null,
  }
}
