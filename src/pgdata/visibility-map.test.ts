import { expect, it } from 'vitest'
import { pagesPerMapPage } from './visibility-map.ts'

it('a page of the visibility map has two bits for every page of the table', () => {
  expect(pagesPerMapPage(8192)).toBe(32_672)
})
