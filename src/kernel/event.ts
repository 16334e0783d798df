/**
 * What the engine tells its listeners. The engine never prints: text with progress bars, JSON lines
 * and the run log are listeners, and they choose the words.
 */
export type Event =
  /** A part of the work that takes time. `expectedBytes` is an estimate, null when unknown. */
  | { type: 'step-begun'; step: Step; subject: string; expectedBytes: number | null }
  /** Bytes done so far in the step named last; emitted at most every 250 ms. */
  | { type: 'step-progress'; step: Step; doneBytes: number; expectedBytes: number | null; note?: string }
  | { type: 'step-ended'; step: Step; subject: string; durationSeconds: number; doneBytes: number | null; note?: string }
  /** Something a person should read although the work goes on. */
  | { type: 'warning'; code: string; message: string }
  /** Plain facts that explain a choice: which pg_dump, which repository, why the container path. */
  | { type: 'note'; message: string }
  /** One line from a client program's standard error, secrets already masked. */
  | { type: 'tool-line'; tool: string; line: string }
  | { type: 'retry'; operation: string; attempt: number; waitMs: number; reason: string }

export type Step =
  | 'dump'
  | 'base-backup'
  | 'upload'
  | 'read-back'
  | 'fetch'
  | 'restore'
  | 'safety-backup'
  | 'validate'
  | 'compare'
  | 'swap'
  | 'start-server'
  | 'test-storage'
  | 'export'

export type Emit = (event: Event) => void
