import { sealDamaged } from './seal-failure.ts'

const begin = '-----BEGIN AGE ENCRYPTED FILE-----'
const end = '-----END AGE ENCRYPTED FILE-----'
const columns = 64
/** White space around an armored file, and any line of it, ends somewhere. */
const lineLimit = 4096

/** Whether a file that begins with these bytes is armored: text before it may only be white space. */
export function looksArmored(head: Uint8Array): boolean {
  return Buffer.from(head).toString('latin1').trimStart().startsWith('-----BEGIN')
}

/** The bytes inside age's text armor: strict PEM (RFC 7468) with lines of 64 columns; white space may stand around it. Throws `integrity`. */
export async function* unarmored(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const decoder = lineDecoder()
  let rest = ''
  for await (const chunk of source) {
    const lines = (rest + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('latin1')).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > lineLimit) throw sealDamaged('armor', 'a line is too long')
    const decoded = lines.map((line) => decoder.decode(line.endsWith('\r') ? line.slice(0, -1) : line)).filter((bytes) => bytes !== null)
    if (decoded.length > 0) yield Buffer.concat(decoded)
  }
  if (rest !== '') decoder.decode(rest)
  decoder.end()
}

/** Takes line after line, and gives the bytes of those that hold some. */
function lineDecoder(): { decode(line: string): Buffer | null; end(): void } {
  let state: 'before' | 'inside' | 'short' | 'after' = 'before'
  const around = (line: string): null => {
    if (state === 'before' && line.trimStart() === begin) state = 'inside'
    else if (line.trim() !== '') throw sealDamaged('armor', state === 'before' ? 'its first line is not that of an age file' : 'something follows its end')
    return null
  }
  return {
    decode: (line) => {
      if (state === 'before' || state === 'after') return around(line)
      if (line.trimEnd() === end) {
        state = 'after'
        return null
      }
      if (state === 'short') throw sealDamaged('armor', 'a line follows one that was shorter')
      const bytes = line === '' || line.length > columns ? null : Buffer.from(line, 'base64')
      if (bytes === null || bytes.toString('base64') !== line) throw sealDamaged('armor', 'a line is malformed')
      if (line.length < columns || line.endsWith('=')) state = 'short'
      return bytes
    },
    end: () => {
      if (state !== 'after') throw sealDamaged('armor', 'its last line is missing')
    },
  }
}
