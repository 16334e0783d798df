/**
 * What the engine tells its listeners. The engine never prints: text with progress bars, JSON lines
 * and the run log are listeners, and they choose the words.
 */
export type Event =
  | { type: 'run-begun'; run: string; verb: Verb; cluster: string; subject: string }
  | { type: 'run-ended'; run: string; verb: Verb; outcome: 'ok' | 'partial' | 'failed' | 'cancelled'; durationSeconds: number }
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

export type Verb = 'backup' | 'verify' | 'restore' | 'undo' | 'drill' | 'delete' | 'init' | 'adopt' | 'repo-test' | 'demo' | 'doctor'

export type Step =
  | 'connect'
  | 'dump'
  | 'globals'
  | 'upload'
  | 'read-back'
  | 'commit'
  | 'fetch'
  | 'restore'
  | 'safety-backup'
  | 'validate'
  | 'compare'
  | 'checks'
  | 'swap'
  | 'clean-up'
  | 'start-server'
  | 'test-storage'
  | 'load'

export type Emit = (event: Event) => void
