import { createHmac, timingSafeEqual } from 'node:crypto'
import type { ByteCursor } from '../stream/byte-cursor.ts'
import { decodeBase64, encodeBase64 } from './base64.ts'
import { hkdf } from './derive-key.ts'
import { sealDamaged } from './seal-failure.ts'

/** One way to the file key: `-> type argument …` and a body. */
export interface Stanza {
  readonly type: string
  readonly args: readonly string[]
  readonly body: Uint8Array
}

export interface AgeHeader {
  readonly stanzas: readonly Stanza[]
  readonly mac: Uint8Array
  /** The bytes that the MAC is over: all before the space of the last line. */
  readonly macInput: Uint8Array
}

const versionLine = 'age-encryption.org/v1'
const footerMark = '---'
const columns = 64
const lineFeed = 10
/** Some five thousand recipients; a hostile file must not fill the memory with a header that never ends. */
const headerLimitBytes = 1024 * 1024

/** Reads the header from the beginning of an age file (C2SP age.md). The cursor then stands at the payload. Throws `integrity`. */
export async function readAgeHeader(cursor: ByteCursor): Promise<AgeHeader> {
  const read: Buffer[] = []
  let sizeBytes = 0
  const line = async (): Promise<string> => {
    const bytes = await takeLine(cursor, headerLimitBytes - sizeBytes)
    sizeBytes += bytes.length
    read.push(bytes)
    return bytes.toString('latin1', 0, bytes.length - 1)
  }

  if ((await line()) !== versionLine) throw sealDamaged('header', 'it does not begin as an age file does')
  const stanzas: Stanza[] = []
  for (;;) {
    const text = await line()
    if (!text.startsWith(footerMark)) {
      stanzas.push(await readStanza(text, line))
      continue
    }
    const mac = decodeBase64(/^--- (.{43})$/.exec(text)?.[1] ?? '')
    if (mac?.length !== 32) throw sealDamaged('header', 'its last line is malformed')
    if (stanzas.length === 0) throw sealDamaged('header', 'it names no recipient')
    return { stanzas, mac, macInput: Buffer.concat(read).subarray(0, sizeBytes - text.length - 1 + footerMark.length) }
  }
}

async function readStanza(first: string, line: () => Promise<string>): Promise<Stanza> {
  const [arrow, type, ...args] = first.split(' ')
  if (arrow !== '->' || type === undefined || [type, ...args].some((word) => !/^[\x21-\x7e]+$/.test(word)))
    throw sealDamaged('header', 'a line that begins a recipient is malformed')
  const parts: Uint8Array[] = []
  for (;;) {
    const text = await line()
    const part = text.length > columns ? null : decodeBase64(text)
    if (part === null) throw sealDamaged('header', `the body of a recipient of type ${JSON.stringify(type)} is malformed`)
    parts.push(part)
    if (text.length < columns) return { type, args, body: Buffer.concat(parts) }
  }
}

/** A line with its line feed. */
async function takeLine(cursor: ByteCursor, mostBytes: number): Promise<Buffer> {
  for (let looked = 0; ;) {
    const here = cursor.peek(mostBytes)
    const at = here.indexOf(lineFeed, looked)
    if (at >= 0) return cursor.take(at + 1)
    if (here.length === mostBytes) throw sealDamaged('header', `it is longer than ${headerLimitBytes} bytes`)
    looked = here.length
    if (!(await cursor.need(looked + 1))) throw sealDamaged('header', 'the file ends inside it')
  }
}

/** The header of a new file. */
export function formatAgeHeader(stanzas: readonly Stanza[], fileKey: Uint8Array): Buffer {
  const lines = [versionLine]
  for (const { type, args, body } of stanzas) {
    lines.push(['->', type, ...args].join(' '))
    const text = encodeBase64(body)
    // The last line is always shorter than the others, if need be empty.
    for (let from = 0; from <= text.length; from += columns) lines.push(text.slice(from, from + columns))
  }
  lines.push(footerMark)
  const macInput = lines.join('\n')
  return Buffer.from(`${macInput} ${encodeBase64(headerMac(fileKey, Buffer.from(macInput, 'latin1')))}\n`, 'latin1')
}

/** Throws `integrity` unless whoever knew the file key wrote just this header. */
export function requireHeaderMac({ mac, macInput }: AgeHeader, fileKey: Uint8Array): void {
  if (!timingSafeEqual(headerMac(fileKey, macInput), mac)) throw sealDamaged('mac', 'it was changed')
}

function headerMac(fileKey: Uint8Array, input: Uint8Array): Buffer {
  return createHmac('sha256', hkdf(fileKey, new Uint8Array(0), 'header'))
    .update(input)
    .digest()
}
