/** The first bytes of a stream, at most `headBytes`, and a stream that still has them. */
export async function peek(
  source: AsyncIterable<Uint8Array>,
  headBytes: number,
): Promise<{ readonly head: Uint8Array; readonly bytes: AsyncGenerator<Uint8Array> }> {
  const iterator = source[Symbol.asyncIterator]()
  const first: Uint8Array[] = []
  let size = 0
  while (size < headBytes) {
    const step = await iterator.next()
    if (step.done === true) break
    first.push(step.value)
    size += step.value.length
  }
  const bytes = (async function* () {
    try {
      yield* first
      for (;;) {
        const step = await iterator.next()
        if (step.done === true) return
        yield step.value
      }
    } finally {
      await iterator.return?.()
    }
  })()
  return { head: Buffer.concat(first).subarray(0, headBytes), bytes }
}
