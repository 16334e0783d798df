import { expect, it } from 'vitest'
import { formatMark, parseMark, type Mark } from './database-mark.ts'

const mark: Mark = { kind: 'drill', run: 'x', backup: null, name: 'mine', at: '2026-01-20T14:30:00Z', expires: '2026-01-21T14:30:00Z', unfinished: true }

it('a comment of ours is read back as it was written; one of an earlier version has no word about being unfinished, and was not', () => {
  expect(parseMark(formatMark(mark))).toEqual(mark)
  const { unfinished: _, ...earlier } = mark
  expect(parseMark(`tidemark:${JSON.stringify(earlier)}`)).toEqual({ ...mark, unfinished: false })
})

it('a comment that only looks like ours is no mark: whoever owns a database writes what he likes into it', () => {
  for (const expires of ['x', '', '2026-13-45T00:00:00Z', 'tomorrow', 1])
    expect([expires, parseMark(`tidemark:${JSON.stringify({ ...mark, expires })}`)]).toEqual([expires, undefined])
  for (const comment of [null, '', 'tidemark', 'tidemark:', 'tidemark:{}', `tidemark:${JSON.stringify({ ...mark, kind: 'production' })}`, 'the live one'])
    expect(parseMark(comment)).toBeUndefined()
})
