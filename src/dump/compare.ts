import { isDeepStrictEqual } from 'node:util'
import { isFailure, messageOf } from '../kernel/failure.ts'
import type { ContentFingerprint, NotCompared, TableFingerprint } from './fingerprint.ts'
import type { CopyContent, CopyTable } from './read-back.ts'
import { createRowMultiset, sumOfMultisets, type MultisetSink, type RowMultiset } from './row-multiset.ts'
import { selectingSink, type DumpSink, type QualifiedName } from './sink.ts'
import { displayName } from './toc-content.ts'

export interface ContentVerdict {
  /** `different` when anything differs; `partial` when nothing does but something was not compared. */
  readonly outcome: 'equal' | 'partial' | 'different'
  readonly tables: readonly TableVerdict[]
  /** Every difference in words: tables, large objects, sequences, derived objects. */
  readonly problems: readonly ContentProblem[]
  readonly notCompared: readonly NotCompared[]
  readonly largeObjects: { readonly count: number; readonly restoredCount: number; readonly match: boolean }
  readonly sequences: { readonly count: number; readonly matching: number }
  readonly derived: { readonly checked: number; readonly matching: number; readonly unchecked: number }
}

export interface TableVerdict extends QualifiedName {
  readonly rows: number
  /** Null when the table could not be read, or was left alone. */
  readonly restoredRows: number | null
  readonly match: boolean
  /** Which comparison decided: the rows in order, the rows in any order, or all partitions of the root together. */
  readonly how: 'ordered' | 'multiset' | 'root' | 'none'
  readonly problem: string | null
}

export interface ContentProblem {
  /** `schema.name`, or what else differs. */
  readonly object: string
  readonly message: string
}

/** The rows of a table of the dump or of the copy, regardless of order; asked for only where ordered digests differ. */
export interface SecondLook {
  /** Reads the dump once more for all these tables; the answer has them in the same order. */
  dump(tables: readonly DumpRowsRequest[]): Promise<readonly RowMultiset[]>
  copy(request: QualifiedName & { readonly columns: readonly string[] | null; readonly isPartitioned: boolean }): Promise<RowMultiset>
}

export interface DumpRowsRequest {
  readonly table: TableFingerprint
  /** Puts each line's fields into another order first; null leaves them. */
  readonly order: readonly number[] | null
}

/**
 * Compares what was dumped with what a restored copy holds. Tables in order first; where digests differ but counts do not, row by
 * row in any order; partitions loaded through their root all together, since rows may lie in another leaf (hash of an enum).
 */
export async function compareContent(expected: ContentFingerprint, copy: CopyContent, look: SecondLook): Promise<ContentVerdict> {
  const copies = new Map(copy.tables.map((table) => [keyOf(table), table]))
  const inOrder = expected.tables.map((table) => compareInOrder(table, copies.get(keyOf(table))))
  const decided = await lookAgain(expected.tables, { inOrder, copies, look })
  const tables = inOrder.map((verdict) => decided.get(keyOf(verdict)) ?? verdict)

  const skipped = copy.tables.filter((table) => table.state === 'skipped')
  const isSkipped = new Set(skipped.map(keyOf))
  const notCompared = [...expected.notCompared, ...skipped.map((table) => ({ what: displayName(table), why: table.why }))]
  const objects = {
    count: expected.largeObjects.count,
    restoredCount: copy.largeObjects.count,
    match: isDeepStrictEqual(expected.largeObjects, copy.largeObjects),
  }
  const sequences = sequenceProblems(expected, copy)
  const problems = [
    ...tables.flatMap((table) =>
      table.match || isSkipped.has(keyOf(table)) ? [] : [{ object: displayName(table), message: table.problem ?? 'its content differs' }],
    ),
    ...(objects.match ? [] : [{ object: 'large objects', message: largeObjectsProblem(expected, copy) }]),
    ...sequences,
    ...copy.derived.problems.map(({ object, problem }) => ({
      object: `${object.desc} ${displayName({ schema: object.schema, name: object.tag })}`,
      message: problem,
    })),
  ]
  return {
    outcome: problems.length > 0 ? 'different' : notCompared.length > 0 ? 'partial' : 'equal',
    tables,
    problems,
    notCompared,
    largeObjects: objects,
    sequences: { count: expected.sequences.length, matching: expected.sequences.length - sequences.length },
    derived: { checked: copy.derived.checked, matching: copy.derived.checked - copy.derived.problems.length, unchecked: copy.derived.unchecked.length },
  }
}

function compareInOrder(table: TableFingerprint, copy: CopyTable | undefined): TableVerdict {
  const { schema, name, rows } = table
  if (copy?.state !== 'read')
    return { schema, name, rows, restoredRows: null, match: false, how: 'none', problem: copy?.why ?? 'it is not in the restored copy' }
  const facts = { schema, name, rows, restoredRows: copy.rows, how: 'ordered' } as const
  if (copy.rows !== rows) return { ...facts, match: false, problem: rowsProblem(rows, copy.rows) }
  const match = copy.digest === table.digest && copy.bytes === table.bytes
  return { ...facts, match, problem: match ? null : valuesProblem }
}

const valuesProblem = 'it has the right number of rows, but at least one value differs'

function rowsProblem(rows: number, restoredRows: number): string {
  const difference = Math.abs(rows - restoredRows)
  const side = restoredRows < rows ? `${difference} of them ${difference === 1 ? 'is' : 'are'} missing` : `${difference} too many`
  return `the dump holds ${rows} rows, the restored copy ${restoredRows}: ${side}`
}

interface FirstLook {
  readonly inOrder: readonly TableVerdict[]
  readonly copies: ReadonlyMap<string, CopyTable>
  readonly look: SecondLook
}

/** Tables that are compared together without regard to order: one table, or all partitions loaded through one root. */
interface Group {
  readonly how: 'multiset' | 'root'
  /** What is read in the copy. */
  readonly target: QualifiedName
  readonly isPartitioned: boolean
  /** The order of fields in which all members are compared. */
  readonly columns: readonly string[] | null
  readonly members: readonly DumpRowsRequest[]
}

async function lookAgain(tables: readonly TableFingerprint[], { inOrder, copies, look }: FirstLook): Promise<Map<string, TableVerdict>> {
  const groups = groupsToLookAt(tables, { inOrder, copies })
  const decided = new Map<string, TableVerdict>()
  if (groups.length === 0) return decided
  const verdicts = new Map(inOrder.map((verdict) => [keyOf(verdict), verdict]))
  const fromDump = (await look.dump(groups.flatMap((group) => group.members))).values()
  for (const { how, target, isPartitioned, columns, members } of groups) {
    const dumped = sumOfMultisets(members.map(() => fromDump.next().value ?? nothing))
    const whole = how === 'root' ? `all partitions of ${displayName(target)} together: ` : ''
    const found = await differenceOf(dumped, () => look.copy({ schema: target.schema, name: target.name, columns, isPartitioned }))
    const match = found === null
    const problem = match ? null : whole + found
    for (const { table } of members) {
      const verdict = verdicts.get(keyOf(table))
      if (verdict !== undefined) decided.set(keyOf(table), { ...verdict, how, match, problem })
    }
  }
  return decided
}

async function differenceOf(dumped: RowMultiset, read: () => Promise<RowMultiset>): Promise<string | null> {
  try {
    const restored = await read()
    if (dumped.rows !== restored.rows) return rowsProblem(dumped.rows, restored.rows)
    return dumped.digest === restored.digest ? null : valuesProblem
  } catch (error) {
    if (!isFailure(error, 'query-failed', 'permission-denied')) throw error
    return messageOf(error)
  }
}

const nothing: RowMultiset = { rows: 0, digest: '00'.repeat(32) }

function groupsToLookAt(tables: readonly TableFingerprint[], { inOrder, copies }: Omit<FirstLook, 'look'>): Group[] {
  const different = tables.filter((_, index) => inOrder[index]?.match === false)
  const single = different
    .filter((table) => table.viaRoot === null && isSameCount(table, copies.get(keyOf(table))))
    .map((table): Group => {
      const copy = copies.get(keyOf(table))
      return {
        how: 'multiset',
        target: table,
        isPartitioned: copy?.state === 'read' && copy.kind === 'partitioned',
        columns: table.columns,
        members: [{ table, order: null }],
      }
    })
  const roots = new Map(different.flatMap(({ viaRoot }) => (viaRoot === null ? [] : [[keyOf(viaRoot), viaRoot] as const])))
  const byRoot = [...roots].map(([key, target]): Group => {
    const leaves = tables.filter(({ viaRoot }) => viaRoot !== null && keyOf(viaRoot) === key)
    const columns = leaves[0]?.columns ?? null
    // The same columns in another order stand in a leaf that was made by itself and attached later.
    const members = leaves.map((table) => ({ table, order: columns === null ? null : columns.map((column) => table.columns?.indexOf(column) ?? -1) }))
    return { how: 'root', target, isPartitioned: true, columns, members }
  })
  return [...single, ...byRoot]
}

function isSameCount(table: TableFingerprint, copy: CopyTable | undefined): boolean {
  return copy?.state === 'read' && copy.rows === table.rows
}

/** `SecondLook.dump` for anything that can scan the dump again. */
export async function multisetsOfDump(requests: readonly DumpRowsRequest[], scan: (sink: DumpSink) => Promise<unknown>): Promise<RowMultiset[]> {
  const sinks = requests.map(({ table, order }) => [keyOf(table), createRowMultiset(order)] as const)
  const byTable = new Map<string, MultisetSink>(sinks)
  await scan(selectingSink((section) => byTable.get(keyOf(section)) ?? null))
  return sinks.map(([, sink]) => sink.result())
}

function sequenceProblems(expected: ContentFingerprint, copy: CopyContent): ContentProblem[] {
  const found = new Map(copy.sequences.map((sequence) => [keyOf(sequence), sequence]))
  return expected.sequences.flatMap((sequence) => {
    const restored = found.get(keyOf(sequence))
    if (restored?.lastValue === sequence.lastValue && restored.isCalled === sequence.isCalled) return []
    const is = restored === undefined ? 'it is missing in the restored copy' : `it stands at ${stateOf(restored)}, the dump sets it to ${stateOf(sequence)}`
    return [{ object: `sequence ${displayName(sequence)}`, message: is }]
  })
}

function stateOf({ lastValue, isCalled }: { readonly lastValue: string; readonly isCalled: boolean }): string {
  return isCalled ? lastValue : `${lastValue} (not called)`
}

function largeObjectsProblem({ largeObjects: dumped }: ContentFingerprint, { largeObjects: restored }: CopyContent): string {
  if (dumped.count !== restored.count) return `the dump holds ${dumped.count} large objects, the restored copy ${restored.count}`
  if (dumped.bytes !== restored.bytes) return `they have ${dumped.bytes} bytes in the dump and ${restored.bytes} in the restored copy`
  return 'the same number with the same size, but at least one byte or number differs'
}

function keyOf({ schema, name }: QualifiedName): string {
  return JSON.stringify([schema, name])
}
