import type { Context } from '../../kernel/context.ts'

/** Tells how far the reading of a cluster is, a few times a second. */
export interface ByteCount {
  begin(expectedBytes: number | null): void
  /** What is known of the size only later. */
  expect(bytes: number): void
  add(bytes: number): void
  end(): void
}

export function countBytes({ clock, emit }: Context): ByteCount {
  let expected: number | null = null
  let done = 0
  let told = 0
  const startedAt = clock.now()
  let toldAt = startedAt
  return {
    begin: (expectedBytes) => {
      expected = expectedBytes
      emit({ type: 'step-begun', step: 'base-backup', subject: 'cluster', expectedBytes })
    },
    expect: (bytes) => {
      expected = bytes
    },
    add: (bytes) => {
      done += bytes
      // The clock is asked for every few megabytes only.
      if (done - told < 4 << 20) return
      told = done
      const now = clock.now()
      if (now.since(toldAt).total('milliseconds') < 250) return
      toldAt = now
      emit({ type: 'step-progress', step: 'base-backup', doneBytes: done, expectedBytes: expected })
    },
    end: () => {
      const durationSeconds = clock.now().since(startedAt).total('seconds')
      emit({ type: 'step-ended', step: 'base-backup', subject: 'cluster', durationSeconds, doneBytes: done })
    },
  }
}
