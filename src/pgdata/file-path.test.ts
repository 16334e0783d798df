import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isInnerPath, pathBytes, pathFromBytes, readablePath, utf8Text } from './file-path.ts'

describe('a path in a data directory', () => {
  it('is kept byte for byte, whatever its encoding, and two are never one', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        expect([...pathBytes(pathFromBytes(bytes))]).toEqual([...bytes])
      }),
    )
    expect(pathFromBytes(Buffer.from('é', 'utf8'))).not.toBe(pathFromBytes(Buffer.from('é', 'latin1')))
    expect(readablePath(pathFromBytes(Buffer.from('Übung/é')))).toBe('Übung/é')
  })

  it('is text where it is UTF-8, and nothing else is taken for text', () => {
    expect(utf8Text(Buffer.from('é'))).toBe('é')
    expect(utf8Text(Buffer.from('é', 'latin1'))).toBeNull()
  })

  it('does not lead out of the directory', () => {
    for (const inside of ['base/5/16384', 'a', '..a/b..', 'a b/c\nd']) expect([inside, isInnerPath(inside)]).toEqual([inside, true])
    for (const outside of ['', '/', '/etc', 'a//b', 'a/', '.', './a', 'a/./b', '..', '../a', 'a/../b', 'a/..', 'a\0b'])
      expect([outside, isInnerPath(outside)]).toEqual([outside, false])
  })
})
