import { Failure } from '../kernel/failure.ts'
import { utf8Text } from './file-path.ts'

/** A tablespace outside of the data directory. */
export interface TablespaceLink {
  readonly oid: number
  /** Absolute, in UTF-8: people name it when they restore to another place. */
  readonly path: string
}

/**
 * Reads `tablespace_map`: a line each, OID, space, path; a backslash stands before every newline and carriage return of a path, and from 14 on
 * before every backslash too. The server makes a link `pg_tblspc/<oid>` of each when it recovers. Throws `integrity`.
 */
export function parseTablespaceMap(bytes: Uint8Array, { major }: { readonly major: number }): readonly TablespaceLink[] {
  const links: TablespaceLink[] = []
  let line: number[] = []
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index] as number
    const next = bytes[index + 1]
    if (byte === backslash && next !== undefined && (major >= 14 || next === newline || next === carriageReturn)) {
      line.push(next)
      index += 1
    } else if (byte !== newline && byte !== carriageReturn) line.push(byte)
    else if (line.length > 0) {
      links.push(linkOf(Buffer.from(line)))
      line = []
    }
  }
  if (line.length > 0) throw unreadable('it is cut')
  if (new Set(links.map(({ oid }) => oid)).size < links.length) throw unreadable('it names a tablespace twice')
  return links
}

/**
 * The bytes of the file for a server of this major. Throws a TypeError for a path that the server would read as another: one that is not
 * absolute, and on 13 one in which a backslash stands last or before a line break.
 */
export function formatTablespaceMap(links: readonly TablespaceLink[], { major }: { readonly major: number }): Buffer {
  const special = major >= 14 ? /[\n\r\\]/g : /[\n\r]/g
  const lines = links.map(({ oid, path }) => {
    if (!isAbsolute(path)) throw new TypeError(`no absolute path of a tablespace: ${JSON.stringify(path)}`)
    if (major < 14 && /\\(?:[\n\r]|$)/.test(path)) throw new TypeError(`PostgreSQL ${major} cannot read this path of a tablespace: ${JSON.stringify(path)}`)
    return `${oid} ${path.replaceAll(special, String.raw`\$&`)}\n`
  })
  return Buffer.from(lines.join(''))
}

const backslash = 0x5c
const newline = 0x0a
const carriageReturn = 0x0d

function linkOf(line: Buffer): TablespaceLink {
  const space = line.indexOf(' ')
  const oid = line.subarray(0, Math.max(space, 0)).toString('latin1')
  const path = utf8Text(line.subarray(space + 1))
  if (!/^[1-9]\d{0,9}$/.test(oid) || Number(oid) >= 2 ** 32) throw unreadable(`${JSON.stringify(oid)} is no OID`)
  if (path === null) throw unreadable(`the path of the tablespace ${oid} is not UTF-8`)
  if (!isAbsolute(path)) throw unreadable(`the path of the tablespace ${oid} is not absolute: ${JSON.stringify(path)}`)
  return { oid: Number(oid), path }
}

function isAbsolute(path: string): boolean {
  return path.startsWith('/') && !path.includes('\0')
}

function unreadable(why: string): Failure {
  return new Failure('integrity', `cannot read tablespace_map: ${why}`)
}
