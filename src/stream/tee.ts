/** Chunks that one branch may be behind before the source waits for it. */
const chunksAhead = 16

/**
 * One source for several consumers, in step: the source waits for the slowest branch, so memory stays bounded.
 * A branch whose consumer stops is dropped and the others go on; when all stopped, the source is closed.
 * An error of the source reaches every branch.
 */
export function tee(source: AsyncIterable<Uint8Array>, count: number): readonly AsyncIterable<Uint8Array>[] {
  const branches = Array.from({ length: count }, () => createBranch())
  let pumping = false
  const pump = async () => {
    try {
      for await (const chunk of source) {
        await Promise.all(branches.map((branch) => branch.push(chunk)))
        if (branches.every((branch) => branch.stopped())) return
      }
      for (const branch of branches) branch.end()
    } catch (error) {
      for (const branch of branches) branch.fail(error)
    }
  }
  return branches.map((branch) => ({
    [Symbol.asyncIterator]: () => {
      if (!pumping) {
        pumping = true
        void pump()
      }
      return branch.iterator
    },
  }))
}

function createBranch() {
  const queue: Uint8Array[] = []
  let ended = false
  let stopped = false
  let failed: { error: unknown } | undefined
  let wakeReader: (() => void) | undefined
  let wakeWriter: (() => void) | undefined
  const wake = () => {
    wakeReader?.()
    wakeWriter?.()
  }
  const iterator: AsyncIterator<Uint8Array> = {
    next: async () => {
      for (;;) {
        const chunk = queue.shift()
        if (chunk !== undefined) {
          wakeWriter?.()
          return { done: false, value: chunk }
        }
        if (failed !== undefined) throw failed.error
        if (ended || stopped) return { done: true, value: undefined }
        await new Promise<void>((resolve) => {
          wakeReader = resolve
        })
      }
    },
    return: async () => {
      stopped = true
      queue.length = 0
      wake()
      return { done: true, value: undefined }
    },
  }
  return {
    iterator,
    stopped: () => stopped,
    push: async (chunk: Uint8Array) => {
      while (queue.length >= chunksAhead && !stopped) {
        await new Promise<void>((resolve) => {
          wakeWriter = resolve
        })
      }
      if (!stopped) queue.push(chunk)
      wakeReader?.()
    },
    end: () => {
      ended = true
      wake()
    },
    fail: (error: unknown) => {
      failed = { error }
      wake()
    },
  }
}
