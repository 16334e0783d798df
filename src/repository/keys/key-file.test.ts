import { describe, expect, it } from 'vitest'
import { Secret } from '../../kernel/secret.ts'
import { formatAgeIdentity, generateAgeIdentity } from '../../seal/age-keys.ts'
import { formatSigningKey } from '../../seal/signing.ts'
import { formatHostRequest, parseHostRequest } from './host-request.ts'
import { formatHostKey, generateHostKey, generateRecoveryKit, parseKeyFile } from './key-file.ts'
import { formatRecoveryKit } from './recovery-kit.ts'

const kit = generateRecoveryKit()
const host = generateHostKey('db 1', kit.rootKey.verifyKey)
const page = formatRecoveryKit(kit, {
  repositories: [
    { id: 'a'.repeat(32), location: 's3://bucket/prefix' },
    { id: 'b'.repeat(32), location: '/mnt/nas' },
  ],
  date: '2026-11-21',
}).reveal()
const root = formatSigningKey(kit.rootKey).reveal()
const identity = formatAgeIdentity(kit.identity).reveal()

function refusalOf(text: string): string {
  try {
    parseKeyFile(new Secret(text), 'FILE')
  } catch (error) {
    expect(error).toMatchObject({ code: 'key-missing' })
    return String(error)
  }
  throw new Error('it was not refused')
}

describe('a recovery kit', () => {
  it('names its repositories and comes back, every line but the identity being a comment', () => {
    expect(page).toContain(`# repository: ${'b'.repeat(32)} /mnt/nas\n`)
    expect(page.split('\n').filter((line) => line !== '' && !line.startsWith('#'))).toEqual([identity])
    const parsed = parseKeyFile(new Secret(page), 'FILE')
    if (parsed.kind !== 'kit') throw new Error(parsed.kind)
    expect(parsed.kit.rootKey.verifyKey.text).toBe(kit.rootKey.verifyKey.text)
    expect(formatAgeIdentity(parsed.kit.identity).reveal()).toBe(identity)
  })

  it('may be typed from paper: the two secrets, in any case, order and surroundings', () => {
    for (const typed of [`${identity}\n${root}`, ` ${root.toLowerCase()} \r\n\r\n ${identity} `, `key: ${root}.\nand ${identity}\n`])
      expect(parseKeyFile(new Secret(typed), 'FILE').kind).toBe('kit')
  })

  it('with a typing error is refused, and neither half of it is shown', () => {
    for (const secret of [root, identity]) {
      for (let at = secret.indexOf('1') + 1; at < secret.length; at += 5) {
        const typed = secret.slice(0, at) + (secret[at] === 'Q' ? 'P' : 'Q') + secret.slice(at + 1)
        const message = refusalOf(page.replace(secret, typed))
        for (const one of [root, identity]) expect(message).not.toContain(one.slice(25, 40))
      }
    }
  })

  it('that is put together of two is refused', () => {
    const other = generateRecoveryKit()
    expect(refusalOf(page.replace(root, formatSigningKey(other.rootKey).reveal()))).toContain('public part')
    expect(refusalOf(`${page}\n${formatSigningKey(other.rootKey).reveal()}`)).toContain('more than one')
    expect(refusalOf(`${page}\n${formatAgeIdentity(other.identity).reveal()}`)).toContain('more than one')
    expect(refusalOf(page + formatHostKey(host).reveal())).toContain('both')
    expect(refusalOf(page.replace(identity, ''))).toContain('no AGE-SECRET-KEY')
  })
})

describe('a host key', () => {
  it('comes back with the root that it trusts, and not without', () => {
    const text = formatHostKey(host).reveal()
    const parsed = parseKeyFile(new Secret(text), 'FILE')
    expect(parsed).toMatchObject({
      kind: 'host',
      host: { name: 'db 1', root: { text: host.root.text }, signingKey: { verifyKey: { text: host.signingKey.verifyKey.text } } },
    })
    expect(refusalOf(text.replace(/^# root.*\n/m, ''))).toContain('root')
    expect(refusalOf(text.replace(/^# name.*\n/m, ''))).toContain('name')
    expect(refusalOf(text.replace(/(tidemark-root1\w{9})./, (_, start: string) => `${start}b`))).toContain('root')
  })

  it('is told to the owner of the kit in one line without secrets, which cannot be changed unnoticed', () => {
    const line = formatHostRequest(host)
    expect(line).not.toMatch(/SECRET|-KEY-/i)
    expect(parseHostRequest(` ${line}\n`)).toMatchObject({
      name: 'db 1',
      recipient: { text: host.identity.recipient.text },
      verifyKey: { text: host.signingKey.verifyKey.text },
    })
    const other = generateHostKey('x', host.root)
    for (const changed of [
      line.replace(host.identity.recipient.text, other.identity.recipient.text),
      line.replace(host.signingKey.verifyKey.text, other.signingKey.verifyKey.text),
      line.slice(20),
      '',
    ])
      expect(() => parseHostRequest(changed)).toThrow(expect.objectContaining({ code: 'usage-invalid' }))
  })
})

it('reads files of age-keygen with one identity or several, and says what to do with a sealed one', () => {
  const [one, two] = [generateAgeIdentity(), generateAgeIdentity()]
  const text = `# created: 2026-11-21T10:00:00Z\n# public key: ${one.recipient.text}\n${formatAgeIdentity(one).reveal()}\n${formatAgeIdentity(two).reveal()}\n`
  expect(parseKeyFile(new Secret(text), 'FILE')).toMatchObject({
    kind: 'identities',
    identities: [{ recipient: { text: one.recipient.text } }, { recipient: { text: two.recipient.text } }],
  })
  expect(refusalOf('age-encryption.org/v1\n-> scrypt …')).toContain('age -d')
  expect(refusalOf('')).toContain('no AGE-SECRET-KEY')
})
