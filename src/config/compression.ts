import { Failure } from '../kernel/failure.ts'
import type { Compression } from './settings.ts'

export const defaultCompression: Compression = { method: 'zstd', level: 3 }

/** `gzip:1-9`, `zstd:1-19`, `none`; a method alone takes gzip 6 or zstd 3. */
export function parseCompression(text: string): Compression {
  const match = /^(?:(none)|(gzip|zstd)(?::(\d{1,2}))?)$/i.exec(text.trim())
  if (match === null) throw new Failure('config-invalid', 'expected a compression such as zstd:3, gzip:9 or none')
  if (match[1] !== undefined) return { method: 'none' }
  const method = match[2]?.toLowerCase() === 'gzip' ? 'gzip' : 'zstd'
  const [usual, most] = method === 'gzip' ? [6, 9] : [3, 19]
  const level = match[3] === undefined ? usual : Number(match[3])
  if (level < 1 || level > most) {
    throw new Failure('config-invalid', `${method} has the levels 1 to ${most}`, { hints: level === 0 ? ['for no compression write "none"'] : [] })
  }
  return { method, level }
}

/** `zstd:1-19` and nothing else: pages of base backups lie in zstd frames. */
export function parseZstd(text: string): Extract<Compression, { method: 'zstd' }> {
  const compression = parseCompression(text)
  if (compression.method === 'zstd') return compression
  throw new Failure('config-invalid', 'base backups are compressed with zstd: expected zstd:1 to zstd:19')
}

/** `zstd:3`, `none`: what `parseCompression` reads. */
export function formatCompression(compression: Compression): string {
  return compression.method === 'none' ? 'none' : `${compression.method}:${compression.level}`
}
