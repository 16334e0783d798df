/**
 * What a scanner tells while it reads a dump. The scanners (custom archive, plain SQL, directory) all feed this one
 * interface, so a fingerprint does not depend on the format it was taken from.
 */
export interface DumpSink {
  /** The rows of a table begin. Return null to have them skipped. Sections of different tables may overlap in time. */
  table(section: TableSection): ByteSink | null
  /** A large object begins. Return null to have it skipped. */
  largeObject(oid: number): ByteSink | null
  /** A sequence's value as the dump will set it. */
  sequence(value: SequenceValue): void
  /** Content that the dump holds in a form that cannot be fingerprinted, for example INSERT statements. */
  notCompared(what: string, why: string): void
}

export interface ByteSink {
  /** Bytes in order, in pieces of any size; valid only until the call returns. */
  bytes(piece: Uint8Array): void
  /** The last byte was given, and the end was found where it must be. */
  end(): void
}

export interface TableSection {
  /** Number of the archive's entry; null in plain SQL. */
  readonly dumpId: number | null
  readonly schema: string
  readonly name: string
  /** Columns in the order of the COPY text; null when the statement names none (a table without columns). */
  readonly columns: readonly string[] | null
  /** The partitioned table through which the rows go when they are loaded, where that is not the table itself. */
  readonly viaRoot: QualifiedName | null
}

export interface QualifiedName {
  readonly schema: string
  readonly name: string
}

export interface SequenceValue extends QualifiedName {
  /** A 64-bit integer in decimal. */
  readonly lastValue: string
  readonly isCalled: boolean
}

/** A sink that reads only the rows of some tables; for a second look at a dump. */
export function selectingSink(choose: (section: TableSection) => ByteSink | null): DumpSink {
  return { table: choose, largeObject: () => null, sequence: () => undefined, notCompared: () => undefined }
}
