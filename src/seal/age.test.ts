import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { chunked, collect, errorOf, sampleBytes } from '../../test/support/streams.ts'
import { isFailure } from '../kernel/failure.ts'
import { Secret } from '../kernel/secret.ts'
import { beginAge, decryptAge, encryptAge } from './age.ts'
import { formatAgeIdentity, generateAgeIdentity, parseAgeIdentity, parseAgeRecipient } from './age-keys.ts'
import { looksArmored, unarmored } from './age-armor.ts'
import { encodeBech32 } from './bech32.ts'

const mine = generateAgeIdentity()
const yours = generateAgeIdentity()
const others = generateAgeIdentity()
const chunk = 64 * 1024
const to = { recipients: [yours.recipient, mine.recipient] }

async function failureOf(source: AsyncIterable<unknown>) {
  const error = await errorOf(source)
  if (!isFailure(error)) throw new Error(`expected a Failure, got ${String(error)}`)
  return error
}

describe('a sealed file', () => {
  it.each([0, 1, chunk - 1, chunk, chunk + 1, 16 * chunk - 1, 16 * chunk, 16 * chunk + 1, 33 * chunk + 5])(
    'of %i bytes comes back, however it is cut, and is as long as was said',
    async (size) => {
      const plain = sampleBytes(size)
      for (const sizes of [[plain.length + 1], [chunk], [1 << 20, 3, 100_000], [65_537, 1]]) {
        const sealing = await beginAge(to)
        const sealed = await collect(sealing.seal(chunked(plain, ...sizes)))
        expect(sealed.length).toBe(sealing.sealedBytes(size))
        const opened = await collect(decryptAge(chunked(sealed, ...sizes), { identities: [others, mine] }))
        expect(opened.equals(plain)).toBe(true)
      }
    },
  )

  it('is opened by a passphrase, and not by another', async () => {
    const sealed = await collect(encryptAge(chunked(sampleBytes(10), 10), { passphrase: new Secret('correct horse'), logN: 10 }))
    expect((await collect(decryptAge(chunked(sealed, 7), { passphrases: [new Secret('wrong'), new Secret('correct horse')] }))).equals(sampleBytes(10))).toBe(
      true,
    )
    expect((await failureOf(decryptAge(chunked(sealed, 7), { passphrases: [new Secret('wrong')], identities: [mine] }))).exitCode).toBe(12)
    expect((await failureOf(decryptAge(chunked(sealed, 7), { passphrases: [new Secret('correct horse')], mostLogN: 9 }))).message).toContain('more work')
  })

  it('gives nothing and ends with 12 to who is no recipient', async () => {
    const sealed = await collect(encryptAge(chunked(sampleBytes(100_000), chunk), to))
    const given: Uint8Array[] = []
    const error = await failureOf(
      (async function* () {
        for await (const one of decryptAge(chunked(sealed, chunk), { identities: [others] })) given.push(one)
        yield 1
      })(),
    )
    expect([error.code, error.exitCode, given]).toEqual(['key-missing', 12, []])
    expect((await failureOf(decryptAge(chunked(sealed, chunk), {}))).exitCode).toBe(12)
  })

  it('cannot be sealed to nobody, to a key that everybody can open, or twice', async () => {
    await expect(beginAge({ recipients: [] })).rejects.toThrow('nobody')
    const lowOrder = parseAgeRecipient(encodeBech32('age', new Uint8Array(32)))
    await expect(beginAge({ recipients: [lowOrder] })).rejects.toMatchObject({ code: 'config-invalid' })
    const sealing = await beginAge(to)
    await collect(sealing.seal(chunked(sampleBytes(3), 3)))
    await expect(collect(sealing.seal(chunked(sampleBytes(3), 3)))).rejects.toThrow('one file only')
  })

  it('opens with its own key in the run that sealed it, until that is forgotten, and takes no other file for it', async () => {
    const strangers = { recipients: [generateAgeIdentity().recipient] }
    const [one, other] = [await beginAge(strangers), await beginAge(strangers)]
    const plain = sampleBytes(100_000)
    const sealed = await collect(one.seal(chunked(plain, 10_000)))
    expect((await collect(decryptAge(chunked(sealed, 10_000), { fileKey: one.fileKey }))).equals(plain)).toBe(true)
    await expect(collect(decryptAge(chunked(sealed, 10_000), { fileKey: other.fileKey, identities: [mine] }))).rejects.toMatchObject({ code: 'integrity' })
    one.fileKey.forget()
    await expect(collect(decryptAge(chunked(sealed, 10_000), { fileKey: one.fileKey }))).rejects.toThrow('forgotten')
    // What is still to be sealed does not need it.
    other.fileKey.forget()
    expect((await collect(other.seal(chunked(plain, 10_000)))).length).toBe(other.sealedBytes(plain.length))
  })

  it('passes on the error of its source, and closes the source when it is left', async () => {
    const broken = async function* () {
      yield sampleBytes(10)
      throw new Error('the disk is gone')
    }
    await expect(collect(encryptAge(broken(), to))).rejects.toThrow('the disk is gone')
    // A connection that broke is no damage.
    await expect(collect(decryptAge(broken(), { identities: [mine] }))).rejects.toThrow('the disk is gone')
    const sealed = await collect(encryptAge(chunked(sampleBytes(40 * chunk), chunk), to))
    let isClosed = false
    const watched = async function* () {
      try {
        yield* chunked(sealed, chunk)
      } finally {
        isClosed = true
      }
    }
    for await (const _ of decryptAge(watched(), { identities: [mine] })) break
    expect(isClosed).toBe(true)
  })
})

describe('damage to a sealed file is found', () => {
  const plain = sampleBytes(3 * chunk + 100)
  /** Where the payload begins. */
  const headOf = (sealed: Buffer) => sealed.indexOf('\n--- ') + 5 + 43 + 1 + 16

  async function outcome(sealed: Uint8Array): Promise<{ readonly given: Buffer; readonly code: string }> {
    const given: Uint8Array[] = []
    try {
      for await (const one of decryptAge(chunked(sealed, 50_000), { identities: [mine] })) given.push(one)
    } catch (error) {
      if (!isFailure(error)) throw error
      return { given: Buffer.concat(given), code: error.code }
    }
    return { given: Buffer.concat(given), code: 'none' }
  }

  it('wherever it is cut, and only whole chunks were handed on', async () => {
    const sealed = await collect(encryptAge(chunked(plain, 1 << 20), to))
    const head = headOf(sealed)
    const cuts = [
      0,
      1,
      21,
      22,
      100,
      head - 17,
      head - 1,
      head,
      head + 1,
      head + 16,
      ...[1, 2, 3].flatMap((n) => [-1, 0, 1, 16].map((by) => head + n * (chunk + 16) + by)),
      sealed.length - 1,
    ]
    for (const cut of cuts) {
      const { given, code } = await outcome(sealed.subarray(0, cut))
      expect(code, `cut at ${cut}`).toBe('integrity')
      expect(given.length % chunk, `cut at ${cut}`).toBe(0)
      expect(given.equals(plain.subarray(0, given.length)), `cut at ${cut}`).toBe(true)
    }
    expect((await outcome(sealed)).code).toBe('none')
  })

  it('whichever byte is another, and whatever is appended, dropped, repeated or exchanged', async () => {
    const sealed = await collect(encryptAge(chunked(plain, 1 << 20), { recipients: [mine.recipient] }))
    const head = headOf(sealed)
    const places = [...Array(head).keys(), head, head + 5, head + chunk, head + chunk + 15, head + chunk + 16, sealed.length - 1]
    for (const at of places) {
      const changed = Buffer.from(sealed)
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at)
      const { given, code } = await outcome(changed)
      // In a recipient's entry it is as if the entry were for another.
      expect(['integrity', 'key-missing'], `byte ${at}`).toContain(code)
      expect(given.equals(plain.subarray(0, given.length)), `byte ${at}`).toBe(true)
    }
    const part = (n: number) => sealed.subarray(head + n * (chunk + 16), head + (n + 1) * (chunk + 16))
    const start = sealed.subarray(0, head)
    for (const parts of [
      [start, part(1), part(0), part(2), part(3)],
      [start, part(0), part(0), part(1), part(2), part(3)],
      [start, part(1), part(2), part(3)],
      [start, part(0), part(1), part(3)],
      [start, part(0), part(1), part(2)],
      [sealed, Buffer.from('\n')],
      [sealed, sealed],
    ]) {
      expect((await outcome(Buffer.concat(parts))).code).toBe('integrity')
    }
  })

  it('in a header that never ends, before it fills the memory', async () => {
    const endless = async function* () {
      yield Buffer.from('age-encryption.org/v1\n')
      for (;;) yield Buffer.alloc(chunk, '-> grease a\nAAAA\n')
    }
    expect((await failureOf(decryptAge(endless(), { identities: [mine] }))).message).toMatch(/longer than|malformed/)
  })
})

describe('keys', () => {
  it('have the text forms of age, and mistyped ones are refused without being shown', () => {
    const text = formatAgeIdentity(mine)
    expect(text.reveal()).toMatch(/^AGE-SECRET-KEY-1[A-Z0-9]{58}$/)
    expect(parseAgeIdentity(new Secret(` ${text.reveal().toLowerCase()}\n`)).recipient.text).toBe(mine.recipient.text)
    expect(parseAgeRecipient(mine.recipient.text).publicKey).toEqual(new Uint8Array(mine.recipient.publicKey))
    const mistyped = text.reveal().replace(/.$/, (last) => (last === 'Q' ? 'P' : 'Q'))
    for (const wrong of [mistyped, mine.recipient.text, '']) {
      expect(() => parseAgeIdentity(new Secret(wrong))).toThrow(expect.objectContaining({ code: 'key-missing' }))
    }
    for (const wrong of [text.reveal(), mistyped, 'age1abc', '']) {
      const error = (() => {
        try {
          return parseAgeRecipient(wrong)
        } catch (caught) {
          return caught
        }
      })()
      expect(error).toMatchObject({ code: 'config-invalid' })
      expect(inspect(error)).not.toContain(text.reveal().slice(20, 40))
    }
  })

  it('show nothing when they are printed or serialised', () => {
    const secret = formatAgeIdentity(mine).reveal()
    for (const shown of [inspect(mine, { depth: 9, showHidden: true }), JSON.stringify(mine), String(formatAgeIdentity(mine))])
      expect(shown).not.toContain(secret.slice(20, 40))
  })
})

describe('text armor', () => {
  it('is undone, with either end of line and white space around it', async () => {
    const sealed = await collect(encryptAge(chunked(sampleBytes(1000), 1000), to))
    const body = (sealed.toString('base64').match(/.{1,64}/g) ?? []).join('\n')
    const text = `\n\n-----BEGIN AGE ENCRYPTED FILE-----\n${body}\n-----END AGE ENCRYPTED FILE-----\n \n`
    for (const form of [text, text.replaceAll('\n', '\r\n')]) {
      expect(looksArmored(Buffer.from(form))).toBe(true)
      for (const size of [1, 64, 5000]) {
        const opened = await collect(decryptAge(unarmored(chunked(Buffer.from(form), size)), { identities: [mine] }))
        expect(opened.equals(sampleBytes(1000))).toBe(true)
      }
    }
    expect(looksArmored(sealed)).toBe(false)
    expect((await failureOf(unarmored(chunked(Buffer.from(text.slice(0, -60)), 100)))).code).toBe('integrity')
  })
})
