const alphabet = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
const generators = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3]
const checksumWords = 6

/** BIP 173's Bech32, without its limit of 90 characters, as age uses it. All in lower case. */
export function encodeBech32(prefix: string, bytes: Uint8Array): string {
  const words = wordsOf(bytes)
  const sum = polymod([...expanded(prefix), ...words, ...Array<number>(checksumWords).fill(0)]) ^ 1
  const checksum = Array.from({ length: checksumWords }, (_, index) => (sum >>> (5 * (checksumWords - 1 - index))) & 31)
  return `${prefix}1${[...words, ...checksum].map((word) => alphabet[word]).join('')}`
}

/** The prefix in lower case and the bytes; null when it is no Bech32 text: a wrong checksum, mixed case, another character. */
export function decodeBech32(text: string): { readonly prefix: string; readonly bytes: Uint8Array } | null {
  if (text !== text.toLowerCase() && text !== text.toUpperCase()) return null
  const lower = text.toLowerCase()
  const separator = lower.lastIndexOf('1')
  if (separator < 1 || lower.length - separator - 1 < checksumWords) return null
  const prefix = lower.slice(0, separator)
  if (!/^[\x21-\x7e]+$/.test(prefix)) return null
  const words = Array.from(lower.slice(separator + 1), (character) => alphabet.indexOf(character))
  if (words.includes(-1) || polymod([...expanded(prefix), ...words]) !== 1) return null
  const bytes = bytesOf(words.slice(0, -checksumWords))
  return bytes === null ? null : { prefix, bytes }
}

/** The checksum's remainder: BIP 173. */
function polymod(words: readonly number[]): number {
  let sum = 1
  for (const word of words) {
    const top = sum >>> 25
    sum = ((sum & 0x1ffffff) << 5) ^ word
    for (const [index, generator] of generators.entries()) if ((top >>> index) & 1) sum ^= generator
  }
  return sum >>> 0
}

function expanded(prefix: string): number[] {
  const codes = Array.from(prefix, (character) => character.charCodeAt(0))
  return [...codes.map((code) => code >>> 5), 0, ...codes.map((code) => code & 31)]
}

/** Words of five bits, the last one filled up with zeros. */
function wordsOf(bytes: Uint8Array): number[] {
  const words: number[] = []
  let bits = 0
  let held = 0
  for (const byte of bytes) {
    held = ((held << 8) | byte) & 0xfff
    for (bits += 8; bits >= 5; bits -= 5) words.push((held >>> (bits - 5)) & 31)
  }
  if (bits > 0) words.push((held << (5 - bits)) & 31)
  return words
}

/** The inverse; null where what is left over is a whole word or not zero, so that every text has one reading. */
function bytesOf(words: readonly number[]): Uint8Array | null {
  const bytes: number[] = []
  let bits = 0
  let held = 0
  for (const word of words) {
    held = ((held << 5) | word) & 0xfff
    bits += 5
    if (bits < 8) continue
    bits -= 8
    bytes.push((held >>> bits) & 0xff)
  }
  return bits >= 5 || (held & ((1 << bits) - 1)) !== 0 ? null : Uint8Array.from(bytes)
}
