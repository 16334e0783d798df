/** Behind a line end: the line that ends COPY data in plain SQL. */
const endMarker = Buffer.from('\n\\.\n')
const lineFeed = 10
const backslash = 92
const dot = 46

/** Finds the end of COPY data that comes in pieces of any size. */
export interface CopyLines {
  begin(): void
  /** Passes on the rows in `input` from `from` on. Returns the position behind the end marker, or −1 when it is still to come. */
  take(input: Buffer, from: number): number
}

export function createCopyLines(onBytes: (piece: Buffer) => void): CopyLines {
  /** Bytes of the marker matched at the beginning of a line; −1 inside a line. */
  let matched = 0

  /** At the beginning of a line: goes on matching the marker. Returns where it stopped. */
  const takeLineStart = (input: Buffer, from: number): number => {
    let at = from
    while (at < input.length && matched < endMarker.length - 1) {
      if (input[at] !== endMarker[matched + 1]) {
        if (matched > 0) onBytes(endMarker.subarray(1, 1 + matched))
        matched = -1
        return at
      }
      at += 1
      matched += 1
    }
    return at
  }

  return {
    begin: () => {
      matched = 0
    },
    take: (input, from) => {
      const at = matched >= 0 ? takeLineStart(input, from) : from
      if (matched === endMarker.length - 1) return at
      if (at === input.length) return -1
      const found = input.indexOf(endMarker, at)
      if (found >= 0) {
        onBytes(input.subarray(at, found + 1))
        return found + endMarker.length
      }
      const held = heldBytes(input, at)
      onBytes(input.subarray(at, input.length - held))
      matched = held > 0 || input[input.length - 1] === lineFeed ? held : -1
      return -1
    },
  }
}

/** How many of the last bytes may be the beginning of a marker that goes on in the next piece, its first line feed aside. */
function heldBytes(input: Buffer, from: number): 0 | 1 | 2 {
  const end = input.length
  if (end - from >= 3 && input[end - 3] === lineFeed && input[end - 2] === backslash && input[end - 1] === dot) return 2
  return end - from >= 2 && input[end - 2] === lineFeed && input[end - 1] === backslash ? 1 : 0
}
