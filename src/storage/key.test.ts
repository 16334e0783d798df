import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareKeys, isKey, keyProblem, quoted, requirePrefix } from './key.ts'

describe('keys', () => {
  it.each(['a', 'a/b', '.hidden', 'a b', '..two', 'two..', 'ä', '😀', '100%', '-rf', '%2e%2e/x', 'n'.repeat(255), `${'k/'.repeat(511)}kk`])(
    'accepts %j',
    (key) => {
      expect(keyProblem(key)).toBeUndefined()
    },
  )

  it.each([
    '',
    '/',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    '../a',
    'a/..',
    'a/./b',
    'a\0',
    'a\u001b[2J',
    'a\u0085',
    'a\\b',
    'c:/a',
    'C:a',
    '\ud800',
    'n'.repeat(256),
    'ü'.repeat(128),
    `${'k/'.repeat(512)}k`,
    '.tidemark-tmp',
    '.tidemark-tmp/a',
    '.TIDEMARK-TMP/a',
  ])('refuses %j', (key) => {
    expect(keyProblem(key)).toBeDefined()
  })

  it('never accepts a path that leaves the directory it is resolved in', async () => {
    const { posix, win32 } = await import('node:path')
    const segment = fc.constantFrom('.', '..', 'a', '', '/', '\\', 'C:', '...', ' ', '\0', '~', '%2e%2e')
    fc.assert(
      fc.property(fc.array(segment, { maxLength: 8 }), fc.constantFrom('/', ''), (segments, joint) => {
        const key = segments.join(joint)
        if (!isKey(key)) return
        expect(posix.resolve('/root/x', key)).toMatch(/^\/root\/x\/./)
        expect(win32.resolve('C:\\root', key).startsWith('C:\\root\\')).toBe(true)
      }),
    )
  })

  it('sorts by UTF-8 bytes, not by UTF-16 units', () => {
    expect(['😀', '｡', 'z', 'a/b', 'a-b'].sort(compareKeys)).toEqual(['a-b', 'a/b', 'z', '｡', '😀'])
  })

  it.each(['', 'a', 'a/', 'a/b', '.', '.tide', 'a/.'])('accepts the prefix %j', (prefix) => {
    expect(() => requirePrefix(prefix)).not.toThrow()
  })

  it.each(['/', '../', 'a/../b', 'a//', 'a//b', '\0', '.tidemark-tmp/', '/a'])('refuses the prefix %j', (prefix) => {
    expect(() => requirePrefix(prefix)).toThrow()
  })

  it('quotes hostile names so that they cannot drive a terminal', () => {
    expect(quoted('a\u001b[2J\u202e\u009b\n"')).toBe('"a\\u001b[2J\\u202e\\u009b\\n\\""')
    expect(quoted('x'.repeat(1000)).length).toBeLessThan(250)
  })
})
