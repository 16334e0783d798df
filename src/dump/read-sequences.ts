import { quoteIdentifier } from '../postgres/identifiers.ts'
import type { ReadingSession } from './read-back-session.ts'
import type { QualifiedName, SequenceValue } from './sink.ts'

const batchSize = 200

/** The values of existing sequences, as they stand in their relations. */
export async function readSequences(session: ReadingSession, names: readonly QualifiedName[]): Promise<SequenceValue[]> {
  const values: SequenceValue[] = []
  for (let from = 0; from < names.length; from += batchSize) {
    const batch = names.slice(from, from + batchSize)
    const parts = batch.map(
      ({ schema, name }, index) =>
        `SELECT ${index} AS at, last_value::text AS value, is_called AS called FROM ${quoteIdentifier(schema)}.${quoteIdentifier(name)}`,
    )
    for (const { at, value, called } of await session.query<{ at: number; value: string; called: boolean }>(parts.join(' UNION ALL '))) {
      const name = batch[at]
      if (name !== undefined) values.push({ schema: name.schema, name: name.name, lastValue: value, isCalled: called })
    }
  }
  return values
}
