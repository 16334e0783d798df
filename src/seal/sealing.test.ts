import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { SecretBytes } from '../kernel/secret.ts'
import { decrypt } from './aead.ts'
import { deriveKey, hkdf } from './derive-key.ts'
import { objectOverheadBytes, openObject, sealObject } from './sealed-object.ts'
import { frameOverheadBytes, openFrame, sealFrame } from './sealed-frame.ts'
import { formatSignature, formatSigningKey, generateSigningKey, isSignedBy, parseSignature, parseSigningKey, parseVerifyKey, signMessage } from './signing.ts'

const key = Buffer.alloc(32, 1)
const associatedData = Buffer.from('tidemark-pack/1 …')
const content = Buffer.from('pages of a relation')

describe('a frame', () => {
  it('is AES-256-GCM with the frame number as nonce: known answers', () => {
    // "The Galois/Counter Mode of Operation", test cases 13 and 14.
    const zero = Buffer.alloc(32)
    const place = { frameNumber: 0, associatedData: Buffer.alloc(0) }
    expect(sealFrame(zero, place, Buffer.alloc(0)).toString('hex')).toBe('530f8afbc74536b9a963b4f1c4cb738b')
    expect(sealFrame(zero, place, Buffer.alloc(16)).toString('hex')).toBe('cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919')
  })

  it('opens in its place only', () => {
    const sealed = sealFrame(key, { frameNumber: 5, associatedData }, content)
    expect(sealed.length).toBe(content.length + frameOverheadBytes)
    expect(openFrame(key, { frameNumber: 5, associatedData }, sealed)?.equals(content)).toBe(true)
    expect(openFrame(key, { frameNumber: 6, associatedData }, sealed)).toBeNull()
    expect(openFrame(key, { frameNumber: 5, associatedData: Buffer.from('another pack') }, sealed)).toBeNull()
    expect(openFrame(Buffer.alloc(32, 2), { frameNumber: 5, associatedData }, sealed)).toBeNull()
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed)
      changed.writeUInt8(changed.readUInt8(at) ^ 0x80, at)
      expect(openFrame(key, { frameNumber: 5, associatedData }, changed)).toBeNull()
    }
  })

  it('is refused with a tag cut to any length, down to the four bytes that old versions of Node take', () => {
    const sealed = sealFrame(key, { frameNumber: 0, associatedData }, content)
    for (let length = 0; length < sealed.length; length++) expect(openFrame(key, { frameNumber: 0, associatedData }, sealed.subarray(0, length))).toBeNull()
    expect(decrypt({ cipher: 'aes-256-gcm', key, nonce: Buffer.alloc(12) }, new Uint8Array(4))).toBeNull()
  })

  it('may lie in shared memory before and after', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(100_000))
    shared.fill(7)
    const sealed = sealFrame(key, { frameNumber: 1, associatedData }, shared.subarray(10, 90_000))
    const there = new Uint8Array(new SharedArrayBuffer(sealed.length))
    there.set(sealed)
    const opened = openFrame(key, { frameNumber: 1, associatedData }, there)
    expect(opened?.length).toBe(89_990)
    expect(opened?.every((byte) => byte === 7)).toBe(true)
    expect(shared.every((byte) => byte === 7)).toBe(true)
  })

  it('never has the nonce of another: frame numbers up to 2^53 are all different, others are refused', () => {
    const seen = new Set(
      [0, 1, 255, 256, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER].map((frameNumber) =>
        sealFrame(key, { frameNumber, associatedData }, content).toString('hex'),
      ),
    )
    expect(seen.size).toBe(7)
    for (const frameNumber of [-1, 1.5, 2 ** 53, NaN]) expect(() => sealFrame(key, { frameNumber, associatedData }, content)).toThrow(RangeError)
  })
})

describe('an object', () => {
  it('opens with its key as what it is, and is never twice the same', () => {
    const [one, other] = [sealObject(key, associatedData, content), sealObject(key, associatedData, content)]
    expect(one.equals(other)).toBe(false)
    expect(one.length).toBe(content.length + objectOverheadBytes)
    expect(openObject(key, associatedData, one)?.equals(content)).toBe(true)
    expect(openObject(key, Buffer.from('a leaf'), one)).toBeNull()
    expect(openObject(Buffer.alloc(32), associatedData, one)).toBeNull()
    for (let at = 0; at < one.length; at++) {
      const changed = Buffer.from(one)
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at)
      expect(openObject(key, associatedData, changed)).toBeNull()
      expect(openObject(key, associatedData, one.subarray(0, at))).toBeNull()
    }
  })
})

describe('derived keys', () => {
  it('are HKDF-SHA-256: RFC 5869, test case 3', () => {
    expect(hkdf(Buffer.alloc(22, 0x0b), new Uint8Array(0), '').toString('hex')).toBe('8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d')
  })

  it('differ by purpose and context', () => {
    const keys = [
      deriveKey(key, 'pack', Buffer.from('a')),
      deriveKey(key, 'pack', Buffer.from('b')),
      deriveKey(key, 'object'),

      key,
    ]
    expect(new Set(keys.map((one) => one.toString('hex'))).size).toBe(keys.length)
  })
})

describe('a signature', () => {
  const signed = { purpose: 'ring', repository: '0'.repeat(32), message: content }

  it('counts for its message, purpose, repository and key only', () => {
    const signer = generateSigningKey('host')
    const signature = signMessage(signer, signed)
    expect(isSignedBy(signer.verifyKey, signed, signature)).toBe(true)
    expect(isSignedBy(signer.verifyKey, { ...signed, purpose: 'run-key' }, signature)).toBe(false)
    expect(isSignedBy(signer.verifyKey, { ...signed, repository: '1'.repeat(32) }, signature)).toBe(false)
    expect(isSignedBy(signer.verifyKey, { ...signed, message: Buffer.from('x') }, signature)).toBe(false)
    expect(isSignedBy(generateSigningKey('host').verifyKey, signed, signature)).toBe(false)
    expect(isSignedBy(signer.verifyKey, signed, signature.subarray(1))).toBe(false)
    expect(parseSignature(formatSignature(signature))).toEqual(new Uint8Array(signature))
    expect(() => signMessage(signer, { ...signed, purpose: 'ring\nx' })).toThrow('purpose')
  })

  it('comes of a key of its own kind: that of a host is none of a root', () => {
    const host = generateSigningKey('host')
    expect(parseVerifyKey('host', host.verifyKey.text)?.publicKey).toEqual(new Uint8Array(host.verifyKey.publicKey))
    expect(parseVerifyKey('root', host.verifyKey.text)).toBeNull()
    const secret = formatSigningKey(host)
    expect(parseSigningKey('host', secret)?.verifyKey.text).toBe(host.verifyKey.text)
    expect(parseSigningKey('root', secret)).toBeNull()
    expect(inspect(host, { depth: 9, showHidden: true }) + JSON.stringify(host)).not.toContain(secret.reveal().slice(25, 45))
  })
})

describe('secret bytes', () => {
  it('show nothing, and seal nothing after they were forgotten', () => {
    const bytes = Buffer.from('0123456789abcdef')
    const secret = new SecretBytes(bytes)
    expect([String(secret), JSON.stringify({ secret }), inspect(secret, { showHidden: true })].join()).not.toMatch(/0123|48, ?49|30 31/)
    expect(secret.reveal()).toBe(bytes)
    secret.forget()
    expect(bytes.every((byte) => byte === 0)).toBe(true)
    expect(() => secret.reveal()).toThrow('forgotten')
  })
})
