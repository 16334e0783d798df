import { Failure, isFailure } from '../../kernel/failure.ts'
import { parseLsn } from '../../pgdata/lsn.ts'
import { protocolFailure, type ResultRows } from './message-fields.ts'
import type { ReplicationConnection } from './replication-connection.ts'

export interface SystemIdentity {
  /** 64 bits without a sign, as text: no number holds it. */
  readonly systemIdentifier: string
  readonly timeline: number
  /** How far the WAL is flushed, or on a standby replayed. */
  readonly walLsn: bigint
}

/** IDENTIFY_SYSTEM. */
export async function identifySystem(connection: ReplicationConnection): Promise<SystemIdentity> {
  const row = onlyRow(await connection.run('IDENTIFY_SYSTEM'))
  return { systemIdentifier: textOf(row, 'systemid'), timeline: numberOf(row, 'timeline'), walLsn: lsnOf(row, 'xlogpos') }
}

/** A setting in its base unit without the unit: `wal_segment_size` in bytes, `wal_sender_timeout` in ms; `on` or `off`; texts as they are. */
export async function readSetting(connection: ReplicationConnection, name: string): Promise<string> {
  if (!/^[a-z0-9_.]+$/i.test(name)) throw new Error(`"${name}" is no name of a setting`)
  return textOf(
    onlyRow(await connection.run(`SELECT setting FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) = pg_catalog.lower('${name}')`)),
    'setting',
  )
}

export interface TemporarySlot {
  readonly name: string
  /** The server keeps WAL from here on, as long as the connection lives or until the slot is told that more was received. */
  readonly restartLsn: bigint
}

/** A physical slot that ends with this connection, and that only this connection can stream from. Fails with SQLSTATE 42710 when the name is taken. */
export async function createTemporarySlot(connection: ReplicationConnection, slot: { readonly major: number; readonly name: string }): Promise<TemporarySlot> {
  requireSlotName(slot.name)
  const options = slot.major >= 15 ? '(RESERVE_WAL true)' : 'RESERVE_WAL'
  await connection.run(`CREATE_REPLICATION_SLOT ${slot.name} TEMPORARY PHYSICAL ${options}`)
  // The answer names a place for logical slots only.
  const row = onlyRow(await connection.run(`SELECT restart_lsn FROM pg_catalog.pg_replication_slots WHERE slot_name = '${slot.name}'`))
  return { name: slot.name, restartLsn: lsnOf(row, 'restart_lsn') }
}

/** Replication commands take a slot's name without quotes. */
export function requireSlotName(name: string): void {
  if (/^[a-z0-9_]{1,63}$/.test(name)) return
  throw new Failure('usage-invalid', `"${name}" cannot be the name of a replication slot`, { hints: ['lower-case letters, digits and _ only, at most 63'] })
}

type Row = ResultRows[number]

/** The row of the only result of a command. */
function onlyRow(results: readonly ResultRows[]): Row {
  return firstRow(results[0] ?? [])
}

export function firstRow(rows: ResultRows): Row {
  const [row] = rows
  if (row === undefined) throw protocolFailure('an empty result where a row belongs')
  return row
}

export function textOf(row: Row, column: string): string {
  const value = row[column]
  if (value == null) throw protocolFailure(`a row without "${column}"`)
  return value
}

export function numberOf(row: Row, column: string): number {
  const text = textOf(row, column)
  if (!/^\d{1,15}$/.test(text)) throw protocolFailure(`"${text}" as ${column}, which is a number`)
  return Number(text)
}

export function lsnOf(row: Row, column: string): bigint {
  const text = textOf(row, column)
  try {
    return parseLsn(text)
  } catch (error) {
    if (!isFailure(error, 'integrity')) throw error
    throw protocolFailure(`"${text}" as ${column}, which is a place in the WAL`)
  }
}
