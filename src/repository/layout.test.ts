import { describe, expect, test } from 'vitest'
import { companionsOf, extensionOf, extensions, isGlobalsKey, isInfoKey, isSealedName, latestAlias, openedName, sealedName, stemOf } from './layout.ts'
import { outerCompressionOf } from './read-stored.ts'

describe('the name of a dump', () => {
  test.each([
    ['nexo_1.dump.zst', 'nexo_1', '.dump.zst', 'zstd'],
    ['nexo_1.dump.zst.age', 'nexo_1', '.dump.zst.age', 'zstd'],
    ['nexo_1.dump.age', 'nexo_1', '.dump.age', 'none'],
    ['nexo_1.sql.gz.age', 'nexo_1', '.sql.gz.age', 'gzip'],
    ['nexo_1.sql.age', 'nexo_1', '.sql.age', 'none'],
    ['nexo_1.d', 'nexo_1', '.d', 'none'],
    ['nexo.age.dump', 'nexo.age', '.dump', 'none'],
  ])('tells how %s is opened', (name, stem, extension, compression) => {
    expect([stemOf(name), extensionOf(name), outerCompressionOf(name)]).toEqual([stem, extension, compression])
    expect(extensions).toContain(extension)
  })

  test.each(['nexo_1.age', 'nexo_1.d.age', 'nexo_1.info.age', 'nexo_1.dump.age.zst', 'nexo_1.dump.gz.age', 'nexo_1.dump.age.age'])('is none: %s', (name) => {
    expect(extensionOf(name)).toBe('')
  })

  test('is sealed or not, and has companions of both kinds', () => {
    expect([isSealedName('a.dump'), isSealedName(sealedName('a.dump')), openedName('a.dump.age'), openedName('a.dump')]).toEqual([
      false,
      true,
      'a.dump',
      'a.dump',
    ])
    const { info, globals } = companionsOf('a')
    expect(info.every(isInfoKey) && globals.every(isGlobalsKey)).toBe(true)
    expect([...info, ...globals]).toEqual(['a.info', 'a.info.age', 'a.globals.sql', 'a.globals.sql.age'])
    expect(latestAlias('.dump.zst.age', null)).toBe('latest_backup.dump.zst.age')
  })
})
