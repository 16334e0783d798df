import { isUtf8 } from 'node:buffer'

/**
 * Paths in a data directory are bytes: PostgreSQL's own are ASCII, but anybody can put a file there under any name. As text they are `latin1`, one
 * character for each byte, here as in leaves: no two paths are mixed up. Such a text goes to the file system as `pathBytes`, to people as `readablePath`.
 */
export function pathFromBytes(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

export function pathBytes(path: string): Buffer {
  return Buffer.from(path, 'latin1')
}

/** Where it lies below a directory of this machine, as the file system takes it. */
export function pathBelow(directory: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${directory}/`), pathBytes(path)])
}

/** The path as a person would type it; for messages only, since bytes that are no UTF-8 are lost. */
export function readablePath(path: string): string {
  return pathBytes(path).toString('utf8')
}

/** Whether the path stays inside the directory it is relative to: no leading `/`, no `.`, `..` or empty segment, no NUL. */
export function isInnerPath(path: string): boolean {
  return !path.includes('\0') && path.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..')
}

/** Text that came as UTF-8, or null when it is none. */
export function utf8Text(bytes: Uint8Array): string | null {
  return isUtf8(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8') : null
}
