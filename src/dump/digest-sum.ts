const limbs = 8

/** A sum modulo 2²⁵⁶ of digests: the same for any order, different when one is changed, missing or doubled. */
export interface DigestSum {
  /** Adds 32 bytes, least significant first. */
  add(digest: Uint8Array): void
  addHex(digest: string): void
  hex(): string
}

export function createDigestSum(): DigestSum {
  const sum = new Uint32Array(limbs)
  const add = (digest: Uint8Array) => {
    let carry = 0
    for (let limb = 0; limb < limbs; limb++) {
      const at = limb * 4
      const part = ((digest[at] as number) | ((digest[at + 1] as number) << 8) | ((digest[at + 2] as number) << 16) | ((digest[at + 3] as number) << 24)) >>> 0
      const total = (sum[limb] as number) + part + carry
      sum[limb] = total
      carry = total > 0xffffffff ? 1 : 0
    }
  }
  const scratch = Buffer.alloc(limbs * 4)
  return {
    add,
    addHex: (digest) => {
      if (scratch.write(digest, 'hex') !== scratch.length) throw new Error(`not a digest: ${digest}`)
      add(scratch)
    },
    hex: () => {
      const bytes = Buffer.alloc(limbs * 4)
      sum.forEach((part, limb) => bytes.writeUInt32LE(part, limb * 4))
      return bytes.toString('hex')
    },
  }
}
