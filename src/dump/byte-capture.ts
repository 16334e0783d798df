/** Collects bytes up to a limit and knows when more came. */
export interface ByteCapture {
  append(input: Buffer, from: number, to: number): void
  /** What was collected; valid until the next call. */
  bytes(): Buffer
  isWhole(): boolean
  clear(): void
}

export function createCapture(limitBytes: number): ByteCapture {
  let buffer = Buffer.allocUnsafeSlow(Math.min(limitBytes, 4096))
  let fill = 0
  let cut = false
  return {
    append: (input: Buffer, from: number, to: number) => {
      const count = Math.min(to - from, limitBytes - fill)
      if (count < to - from) cut = true
      if (count <= 0) return
      if (fill + count > buffer.length) {
        const larger = Buffer.allocUnsafeSlow(Math.min(limitBytes, Math.max(buffer.length * 2, fill + count)))
        buffer.copy(larger, 0, 0, fill)
        buffer = larger
      }
      input.copy(buffer, fill, from, from + count)
      fill += count
    },
    bytes: () => buffer.subarray(0, fill),
    isWhole: () => !cut,
    clear: () => {
      fill = 0
      cut = false
    },
  }
}
