import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { LeafPlace } from '../../packs/root-tables.ts'
import { placesBelow } from './places-below.ts'

const place = (path: string, firstPage: number | null, frame: number): LeafPlace => ({ path, firstPage, pack: 0, frame, digest: Buffer.alloc(16) })

describe('the leaves below a prefix', () => {
  it('hold every path that begins with it, wherever the groups are cut, and not the large files of others', () => {
    const segment = fc.constantFrom('a', 'b', 'pg_wal', 'pg_tblspc', '16400', '16401', 'pg_wal.x')
    const path = fc.array(segment, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'))
    fc.assert(
      fc.property(
        fc.uniqueArray(path, { minLength: 1, maxLength: 40 }),
        fc.infiniteStream(fc.nat(3)),
        fc.constantFrom('pg_wal/', 'pg_tblspc/16400/', 'a/b', 'b'),
        (paths, dice, prefix) => {
          // Some files are large and have leaves of their own; the others share groups.
          const sorted = paths.toSorted()
          const leafOf = new Map<string, number>()
          const leaves: LeafPlace[] = []
          let group: number | null = null
          for (const name of sorted) {
            const roll = dice.next().value
            if (roll === 0) {
              leafOf.set(name, leaves.length)
              leaves.push(place(name, 0, leaves.length))
            } else {
              if (group === null || roll === 1) {
                group = leaves.length
                leaves.push(place(name, null, leaves.length))
              }
              leafOf.set(name, group)
            }
          }
          const chosen = placesBelow(leaves, prefix)
          const frames = new Set(chosen.map(({ frame }) => frame))
          const holds = (name: string): boolean => (prefix.endsWith('/') ? name.startsWith(prefix) : name === prefix)
          for (const name of sorted) if (holds(name)) expect(frames).toContain(leafOf.get(name))
          for (const leaf of chosen) if (leaf.firstPage !== null) expect(holds(leaf.path)).toBe(true)
          expect(chosen.map(({ frame }) => frame)).toEqual([...frames].toSorted((a, b) => a - b))
        },
      ),
    )
  })

  it('are few: a group that ends before the prefix, or begins behind it, is not read', () => {
    const leaves = [place('PG_VERSION', null, 0), place('base/1/2', null, 1), place('pg_wal', null, 2), place('pg_wal/0001', 0, 3), place('pg_xact', null, 4)]
    expect(placesBelow(leaves, 'pg_wal/').map(({ frame }) => frame)).toEqual([2, 3])
    expect(placesBelow(leaves, 'backup_manifest').map(({ frame }) => frame)).toEqual([0])
  })
})
