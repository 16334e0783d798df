/** Canonical standard Base64 without padding, as age headers have it; null for any other text, also where only spare bits differ. */
export function decodeBase64(text: string): Buffer | null {
  if (!/^[A-Za-z0-9+/]*$/.test(text)) return null
  const bytes = Buffer.from(text, 'base64')
  return encodeBase64(bytes) === text ? bytes : null
}

export function encodeBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64').replaceAll('=', '')
}
