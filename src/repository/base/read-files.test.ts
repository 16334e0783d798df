import { describe, expect, it } from 'vitest'
import { hashBytes, type LeafEntry } from '../../packs/leaf.ts'
import { cutEntry } from './read-files.ts'

const pageBytes = 8192
const hashes = Buffer.from(Array.from({ length: 10 * hashBytes }, (_, index) => Math.floor(index / hashBytes)))
const entry: LeafEntry = {
  path: 'base/1/2',
  kind: 'file',
  mode: 0o600,
  sizeBytes: 26 * pageBytes - 100,
  firstPage: 16,
  hashes,
  extents: [
    { pages: 3, pack: 0, frame: 7, offset: 0 },
    { pages: 1, pack: 2, frame: 1, offset: 5 * pageBytes },
    { pages: 6, pack: 0, frame: 8, offset: 2 * pageBytes },
  ],
}

/** Where each page of an entry lies, by its number in the file. */
const places = (entries: readonly LeafEntry[]) =>
  entries.flatMap(({ firstPage, extents, hashes: own }) => {
    let page = 0
    return extents.flatMap(({ pages, pack, frame, offset }) =>
      Array.from({ length: pages }, (_, index) => ({ page: firstPage + page, hash: own[page++ * hashBytes], pack, frame, offset: offset + index * pageBytes })),
    )
  })

describe('an entry that is cut', () => {
  it.each([1, 2, 3, 4, 7, 9, 10, 11])('into at most %i pages has the same pages at the same places, with their own hashes', (most) => {
    const parts = [...cutEntry(entry, most, pageBytes)]
    expect(parts.every((part) => part.hashes.length <= most * hashBytes)).toBe(true)
    expect(places(parts)).toEqual(places([entry]))
  })
})
