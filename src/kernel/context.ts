import type { Clock } from './clock.ts'
import type { Emit } from './event.ts'

/** What every use case is handed: where to tell, how to know the time, when to stop. */
export interface Context {
  readonly clock: Clock
  readonly emit: Emit
  readonly signal: AbortSignal
}
