import { describe, expect, it } from 'vitest'
import { findBadPages, pageChecksum } from './page-checksum.ts'
import { clearVisible, pagesPerMapPage } from './visibility-map.ts'

describe('a page of the visibility map', () => {
  const pageOf = (mapBlock: number) => {
    const page = Buffer.alloc(8192)
    page.writeUInt16LE(8192, 14)
    page.fill(0xff, 24)
    page.writeUInt16LE(pageChecksum(page, mapBlock), 8)
    return page
  }
  const judge = (page: Buffer, firstBlock: number) => findBadPages(page, { pageBytes: 8192, firstBlock, newerThan: (1n << 64n) - 1n })

  it('has two bits for every page of the table, and the others keep theirs', () => {
    expect(pagesPerMapPage(8192)).toBe(32_672)
    const page = pageOf(1)
    clearVisible(page, [32_672, 32_672 + 5, 2 * 32_672 - 1, 0, 5, 2 * 32_672], { mapBlock: 1, checksums: true })
    expect([...page.subarray(24, 27)]).toEqual([0b11111100, 0b11110011, 0xff])
    expect(page[8191]).toBe(0b00111111)
    expect(page.subarray(26, 8191).every((byte) => byte === 0xff)).toBe(true)
    expect(judge(page, 1)).toEqual([])
  })

  it('keeps its checksum where nothing is cleared, so that damage is not sealed in, and where there are no checksums', () => {
    const page = pageOf(0)
    clearVisible(page, [3], { mapBlock: 0, checksums: true })
    page[4000] = 0
    clearVisible(page, [3, 40_000], { mapBlock: 0, checksums: true })
    expect(judge(page, 0)).toHaveLength(1)
    const before = page.readUInt16LE(8)
    clearVisible(page, [7], { mapBlock: 0, checksums: false })
    expect(page.readUInt16LE(8)).toBe(before)
  })
})
