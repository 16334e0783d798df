import { Failure } from '../../kernel/failure.ts'

/** A place in the WAL as PostgreSQL writes it, `16/B374D848`: two hexadecimal halves of 64 bits (pg_lsn). */
export function parseLsn(text: string): bigint {
  const [, high, low] = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text) ?? []
  if (high === undefined || low === undefined) throw new Failure('connection-lost', `the server named "${text}" as a place in its WAL, which is none`)
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`)
}

/** As PostgreSQL up to 18 prints it, without leading zeros. */
export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16)}/${(lsn & 0xffff_ffffn).toString(16)}`.toUpperCase()
}
