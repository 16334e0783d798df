import { demand, demandBytes, demandRefusal, listKeys, noise, readAll } from './conformance-tools.ts'
import type { ConformanceCase } from './conformance-tools.ts'
import { compareKeys } from './key.ts'
import type { Storage } from './storage.ts'

// Each of these once broke something: URI encoding, XML, form encoding of spaces, double decoding, shells, file systems.
const awkwardNames = [
  ' leading space',
  'trailing space ',
  'a+b c',
  '100%',
  '%2F%2e%2e',
  'question?mark',
  'hash#mark',
  'amp&ersand;',
  '<tag>',
  '"quoted" \'name\'',
  '$(command) `too`',
  'semi;colon',
  '-leading-dash',
  '.hidden',
  'dots...',
  '..two',
  '=equals=',
  '[brackets]{braces}',
  'tilde~star*',
  'colon:name',
  'at@sign,comma',
  'ümläut é',
  '日本語',
  '😀',
  'עברית',
  'n'.repeat(200),
] as const

// Ascending by UTF-8 bytes. UTF-16 would put the emoji before the full-width sign, and a walk by directory `a/b` before `a-b`.
const orderedNames = ['A', 'a', 'a b', 'a!', 'a+b', 'a-b', 'a.b', 'a/b', 'a/b0', 'a0', 'b/c/d', 'b/c-d', 'é', '｡', '😀'].sort(compareKeys)

const hostileKeys = [
  '',
  '/',
  '/absolute',
  '..',
  '../escape',
  'a/../b',
  'a/..',
  './a',
  'a/./b',
  'a//b',
  'a/',
  'a\0b',
  'a\nb',
  'a\u007fb',
  'a\\b',
  'C:/windows',
  '\ud800',
  'k'.repeat(256),
  `${'k/'.repeat(513)}k`,
  '.tidemark-tmp/x',
]

/** What listings show, and which names exist at all. */
export const listingCases: readonly ConformanceCase[] = [
  {
    name: 'keeps awkward names exactly',
    async run(storage, { prefix }) {
      const bodies = new Map(awkwardNames.map((name) => [name, noise(20)] as const))
      for (const [name, bytes] of bodies) await storage.put(`${prefix}${name}`, bytes)
      const found = await listKeys(storage, prefix)
      const expected = [...awkwardNames].sort(compareKeys)
      demand(
        found.join('\n') === expected.join('\n'),
        `a listing shows other names than were stored: ${JSON.stringify(found.find((name, index) => name !== expected[index]))}`,
      )
      for (const [name, bytes] of bodies) {
        await demandBytes(storage, `${prefix}${name}`, bytes, `reading ${JSON.stringify(name)}`)
        const copied = `${prefix}copy of ${name}`.slice(0, prefix.length + 200)
        await storage.copy(`${prefix}${name}`, copied)
        await demandBytes(storage, copied, bytes, `reading the copy of ${JSON.stringify(name)}`)
        await storage.delete(`${prefix}${name}`)
      }
    },
  },
  {
    name: 'lists in ascending order of bytes what begins with the prefix',
    async run(storage, { prefix }) {
      // No directory may have the name of an object here, since posix cannot have both.
      const names = orderedNames.filter((name) => name !== 'a')
      for (const name of [...names].reverse()) await storage.put(`${prefix}${name}`, noise(1))
      for (const beginning of ['', 'a', 'a/', 'a/b', 'a-', 'b/c', 'b/c/', 'é', 'x', '😀', 'a/b/c/d']) {
        const found = (await listKeys(storage, `${prefix}${beginning}`)).map((rest) => beginning + rest)
        const expected = names.filter((name) => name.startsWith(beginning))
        demand(
          found.join('\n') === expected.join('\n'),
          `a listing of ${JSON.stringify(beginning)} shows ${JSON.stringify(found)} where ${JSON.stringify(expected)} should be`,
        )
      }
    },
  },
  {
    name: 'shows at once what was stored and removed',
    async run(storage, { prefix }) {
      for (let number = 0; number < 12; number += 1) {
        await storage.put(`${prefix}object-${number}`, noise(1))
        demand((await listKeys(storage, prefix)).includes(`object-${number}`), 'a listing does not show an object that was stored before it began')
      }
      for (let number = 0; number < 12; number += 1) {
        await storage.delete(`${prefix}object-${number}`)
        demand(!(await listKeys(storage, prefix)).includes(`object-${number}`), 'a listing shows an object that was removed before it began')
      }
    },
  },
  {
    name: 'refuses names that could escape or deceive',
    async run(storage, { prefix }) {
      await storage.put(`${prefix}good`, noise(1))
      for (const key of hostileKeys) {
        const what = (action: string) => `${action} the name ${JSON.stringify(key.slice(0, 40))}`
        await demandRefusal(['storage-failed'], what('storing under'), async () => storage.put(key, noise(1)))
        await demandRefusal(['storage-failed'], what('reading'), async () => readAll(storage, key))
        await demandRefusal(['storage-failed'], what('looking at'), async () => storage.stat(key))
        await demandRefusal(['storage-failed'], what('removing'), async () => storage.delete(key))
        await demandRefusal(['storage-failed'], what('copying from'), async () => storage.copy(key, `${prefix}copy`))
        await demandRefusal(['storage-failed'], what('copying to'), async () => storage.copy(`${prefix}good`, key))
      }
      for (const beginning of ['/', '../', 'a/../', 'a//', '\0']) {
        await demandRefusal(['storage-failed'], `listing ${JSON.stringify(beginning)}`, async () => listKeys(storage, beginning))
      }
    },
  },
  {
    name: 'lists every object of a few dozen',
    run: (storage, { prefix }) => listsAll(storage, prefix, 37),
  },
  {
    name: 'lists every object of 999, 1000, 1001 and 2001 (paging)',
    slow: true,
    async run(storage, { prefix }) {
      for (const count of [999, 1000, 1001, 2001]) await listsAll(storage, prefix, count)
    },
  },
]

/** Adds objects until there are `count`, and expects to see all of them, each once. */
async function listsAll(storage: Storage, prefix: string, count: number): Promise<void> {
  const name = (number: number) => `${prefix}many/${String(number).padStart(6, '0')}`
  const present = (await listKeys(storage, `${prefix}many/`)).length
  const missing = Array.from({ length: count - present }, (_, index) => present + index)
  while (missing.length > 0) await Promise.all(missing.splice(0, 16).map((number) => storage.put(name(number), Buffer.from([number & 255]))))
  const found = await listKeys(storage, `${prefix}many/`)
  demand(found.length === count && new Set(found).size === count, `${count} objects were stored and ${found.length} are listed`)
  demand(found.at(-1) === String(count - 1).padStart(6, '0'), 'the last object is not the last of the listing')
}
