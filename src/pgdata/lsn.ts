import { Failure } from '../kernel/failure.ts'

/** The LSN (byte position in the WAL) written as PostgreSQL writes it: `16/B374D848`. Throws `integrity`. */
export function parseLsn(text: string): bigint {
  const [, upper, lower] = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text) ?? []
  if (upper === undefined || lower === undefined) throw new Failure('integrity', `cannot read the LSN ${JSON.stringify(text)}: expected the form 16/B374D848`)
  return (BigInt(`0x${upper}`) << 32n) | BigInt(`0x${lower}`)
}

/** As servers up to 18 write it: no zeros in front. */
export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16)}/${(lsn & 0xffffffffn).toString(16)}`.toUpperCase()
}
