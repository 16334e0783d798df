import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { unarmored } from '../../src/seal/age-armor.ts'
import { decryptAge, encryptAge } from '../../src/seal/age.ts'
import { formatAgeIdentity, generateAgeIdentity, parseAgeIdentity } from '../../src/seal/age-keys.ts'
import { Secret } from '../../src/kernel/secret.ts'
import { generateHostKey, generateRecoveryKit, formatHostKey, parseKeyFile } from '../../src/repository/keys/key-file.ts'
import { formatRecoveryKit } from '../../src/repository/keys/recovery-kit.ts'
import { chunked, collect, judge, sampleBytes } from '../support/streams.ts'

// The real age is installed by test/services/with-services.sh; where it is missing these tests fail.

const run = promisify(execFile)
const sizes = [0, 1, 65_536, 65_537, 3_000_000]

describe('the real age program', () => {
  let directory: string
  const path = (name: string) => join(directory, name)
  const identity = generateAgeIdentity()

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tidemark-age-'))
    await writeFile(path('key.txt'), `${formatAgeIdentity(identity).reveal()}\n`, { mode: 0o600 })
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  it.each(sizes)('opens what we sealed: %i bytes', async (size) => {
    const plain = sampleBytes(size)
    const sealed = await collect(encryptAge(chunked(plain, 100_000), { recipients: [generateAgeIdentity().recipient, identity.recipient] }))
    const { code, stdout, stderr } = await judge('age', ['--decrypt', '--identity', path('key.txt')], sealed)
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout.equals(plain)).toBe(true)
  })

  it('refuses what we sealed when it was cut, so that it is known to look', async () => {
    const sealed = await collect(encryptAge(chunked(sampleBytes(200_000), 100_000), { recipients: [identity.recipient] }))
    const end = await judge('age', ['--decrypt', '--identity', path('key.txt')], sealed.subarray(0, -1))
    expect(end.code).not.toBe(0)
  })

  it.each(sizes)('seals what we open, with and without armor: %i bytes', async (size) => {
    const plain = sampleBytes(size)
    for (const armor of [[], ['--armor']]) {
      const { code, stdout, stderr } = await judge('age', ['--encrypt', ...armor, '--recipient', identity.recipient.text], plain)
      expect([code, stderr]).toEqual([0, ''])
      const source = chunked(stdout, 70_000)
      const opened = await collect(decryptAge(armor.length > 0 ? unarmored(source) : source, { identities: [identity] }))
      expect(opened.equals(plain)).toBe(true)
    }
  })

  it('makes keys that we read, and finds the recipient of ours', async () => {
    const { stdout } = await run('age-keygen', [])
    const theirs = parseAgeIdentity(new Secret(/AGE-SECRET-KEY-1\w+/.exec(stdout)?.[0] ?? ''))
    expect(stdout).toContain(theirs.recipient.text)
    expect(parseKeyFile(new Secret(stdout), 'stdout')).toMatchObject({ kind: 'identities', identities: [{ recipient: { text: theirs.recipient.text } }] })
    expect((await run('age-keygen', ['-y', path('key.txt')])).stdout.trim()).toBe(identity.recipient.text)
  })

  it('takes a recovery kit and a host key as they are for its identity files', async () => {
    const kit = generateRecoveryKit()
    const host = generateHostKey('db1', kit.rootKey.verifyKey)
    const page = formatRecoveryKit(kit, { repositories: [{ id: '0'.repeat(32), location: 's3://bucket/prefix' }], date: '2026-11-21' })
    for (const [text, recipient] of [
      [page, kit.identity.recipient],
      [formatHostKey(host), host.identity.recipient],
    ] as const) {
      await writeFile(path('identity'), text.reveal(), { mode: 0o600 })
      const sealed = await collect(encryptAge(chunked(Buffer.from('rows'), 4), { recipients: [recipient] }))
      const { code, stdout, stderr } = await judge('age', ['--decrypt', '--identity', path('identity')], sealed)
      expect([code, stdout.toString(), stderr]).toEqual([0, 'rows', ''])
    }
  })
})
