import { expect, it } from 'vitest'
import { keyOfPack, type PackKeys } from './pack-keys.ts'

const keys: PackKeys = { metadata: async () => Buffer.alloc(32, 1), run: async () => Buffer.alloc(32, 2) }
const name = { cluster: 'main', run: '20260101-000000-aaaa' }

it('takes a pack in clear in a repository that is not sealed, and never in one that is: anybody who can write could have planted it', async () => {
  expect(await keyOfPack({ keyKind: 'none', epoch: 0 }, name, null)).toBeNull()
  await expect(keyOfPack({ keyKind: 'none', epoch: 0 }, name, keys)).rejects.toMatchObject({ code: 'integrity' })
  expect(await keyOfPack({ keyKind: 'metadata', epoch: 1 }, name, keys)).toEqual(Buffer.alloc(32, 1))
})
