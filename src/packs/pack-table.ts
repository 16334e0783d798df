/** The packs that a backup speaks of, as small numbers: a pack's id stands in memory once, however many extents name it. */
export interface PackTable {
  readonly count: number
  /** The number of a pack, given by its id (16 bytes); a new one gets the next. */
  numberOf(id: Buffer): number
  idOf(number: number): Buffer
}

export function createPackTable(): PackTable {
  const numbers = new Map<string, number>()
  const ids: Buffer[] = []
  return {
    get count() {
      return ids.length
    },
    numberOf: (id) => {
      const name = id.toString('latin1')
      const known = numbers.get(name)
      if (known !== undefined) return known
      numbers.set(name, ids.length)
      ids.push(Buffer.from(id))
      return ids.length - 1
    },
    idOf: (number) => {
      const id = ids[number]
      if (id === undefined) throw new RangeError(`there is no pack ${number}`)
      return id
    },
  }
}
