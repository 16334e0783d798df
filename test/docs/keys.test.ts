import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, it } from 'vitest'
import { Secret } from '../../src/kernel/secret.ts'
import { changeKeyring } from '../../src/repository/keys/change-keyring.ts'
import { generateHostKey } from '../../src/repository/keys/key-file.ts'
import { decryptAge } from '../../src/seal/age.ts'
import { isSignedBy, parseSignature } from '../../src/seal/signing.ts'
import { keyScene } from '../support/key-scene.ts'
import { collect } from '../support/streams.ts'

const page = readFileSync(join(resolve(import.meta.dirname, '../..'), 'docs/keys.md'), 'utf8')

/** The part of the page from one heading to the next of any level. */
function section(heading: string): string {
  const start = page.indexOf(`# ${heading}\n`)
  if (start < 0) throw new Error(`docs/keys.md has no section "${heading}"`)
  const next = page.indexOf('\n#', start)
  return page.slice(start, next < 0 ? undefined : next)
}

it('docs/keys.md names every object, every key of what is signed, and the bytes under a signature', async () => {
  await using scene = await keyScene()
  const { kit, keyring, host } = await scene.create()
  await keyring.newRunKey({ cluster: 'nexo', run: '20261121-100000-abcd' }).store()
  const second = generateHostKey('db2', host.root)
  const member = { kind: 'host', name: 'db2', recipient: second.identity.recipient, verifyKey: second.signingKey.verifyKey, reads: 'metadata' } as const
  const boss = { kind: 'passphrase', name: 'boss', passphrase: new Secret('correct horse battery'), logN: 4 } as const
  await changeKeyring(scene.repository, kit, { add: [member, boss] }, scene.context)
  await changeKeyring(scene.repository, kit, { remove: ['db2'] }, scene.context)

  const objects = [...(await scene.objects()).keys()]
  expect(objects.length).toBe(8)
  for (const key of objects) {
    const form = key.replace(/\d{10}/, '0000000001').replace(/0000000001-[0-9a-f]{16}/, '0000000002-<16 hex>').replace(/nexo\/[^/]+\.age/, '<cluster>/<run>.age')
    expect(section('Objects'), key).toContain(`    ${form} `)
  }

  const signed = { Ring: objects.findLast((key) => key.includes('/rings/')) ?? '', 'Run key': objects.find((key) => key.includes('/runs/')) ?? '' }
  for (const [heading, key] of Object.entries(signed)) {
    const plain = await collect(decryptAge(scene.storage.read(key), { identities: [kit.identity] }))
    const [line = '', signature = ''] = plain.toString().split('\n')
    const statement = JSON.parse(line) as Record<string, unknown>
    for (const name of Object.keys(statement)) expect(section(heading), name).toContain(`\`${name}\``)
    for (const inner of ['members', 'formerMembers', 'metadataKeys'])
      for (const one of (statement[inner] ?? []) as object[]) for (const name of Object.keys(one)) expect(section(heading), name).toMatch(new RegExp(`\\b${name}\\b`))
    expect(section(heading)).toContain(String(statement['format']))

    // Sealed anew by the root in the end, both.
    const [, text = ''] = /^signed-by root (tidemark-signature1\w+)$/.exec(signature) ?? []
    const purpose = heading.toLowerCase().replace(' ', '-')
    const message = Buffer.from(line)
    expect(isSignedBy(kit.rootKey.verifyKey, { purpose, repository: scene.repository.id, message }, parseSignature(text) ?? new Uint8Array(0))).toBe(true)
    expect(section('What is signed')).toContain(`\`${purpose}\``)
  }
  const hostId = createHash('sha256').update('tidemark-host/1\n').update(host.signingKey.verifyKey.publicKey).update(host.identity.recipient.publicKey).digest('hex').slice(0, 32)
  expect(Buffer.from(keyring.sign('x', Buffer.alloc(0)).subarray(0, 16)).toString('hex')).toBe(hostId)
})
