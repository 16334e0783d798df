import type { Clock } from '../../kernel/clock.ts'
import type { Event, Step } from '../../kernel/event.ts'
import { formatBytes, formatDuration, printable } from './format.ts'
import type { Output } from './output.ts'

/** Events become: a live bar on a terminal, a line every 30 s elsewhere, JSON lines with `--progress=json`. All on stderr. */
export interface ProgressListener {
  listen(event: Event): void
  /** Clears the bar; call before the result is printed. */
  close(): void
}

const words: Record<Step, string> = {
  dump: 'dumping',
  'base-backup': 'copying',
  upload: 'storing',
  'read-back': 'reading back',
  fetch: 'fetching',
  restore: 'restoring',
  'safety-backup': 'safety backup',
  validate: 'validating',
  compare: 'comparing content',
  swap: 'swapping databases',
  'start-server': 'starting a server',
  'test-storage': 'trying the storage',
  export: 'exporting',
}

const quietLineMs = 30_000

export function jsonProgress(output: Output): ProgressListener {
  return { listen: (event) => void output.stderr.write(`${JSON.stringify(event)}\n`), close: () => undefined }
}

export function textProgress(output: Output, clock: Clock): ProgressListener {
  const live = output.stderr.isTTY === true && !output.quiet
  let barShown = false
  let stepBegunMs = clock.monotonicMs()
  let lastLineMs = clock.monotonicMs()
  const clear = () => {
    if (barShown) output.stderr.write('\r\u001b[2K')
    barShown = false
  }
  const say = (text: string) => {
    clear()
    output.remark(text)
  }

  return {
    close: clear,
    listen: (event) => {
      switch (event.type) {
        case 'step-begun':
          stepBegunMs = clock.monotonicMs()
          lastLineMs = stepBegunMs
          if (live) {
            clear()
            output.stderr.write(`${words[event.step]} ${printable(event.subject)} …`)
            barShown = true
          }
          return
        case 'step-progress': {
          const seconds = (clock.monotonicMs() - stepBegunMs) / 1000
          const text = bar(words[event.step], event.doneBytes, event.expectedBytes, seconds, event.note)
          if (live) {
            output.stderr.write(`\r\u001b[2K${text.slice(0, Math.max(20, (output.stderr.columns ?? 100) - 1))}`)
            barShown = true
          } else if (clock.monotonicMs() - lastLineMs >= quietLineMs) {
            lastLineMs = clock.monotonicMs()
            output.remark(text)
          }
          return
        }
        case 'step-ended': {
          const size = event.doneBytes === null ? '' : ` ${formatBytes(event.doneBytes)}`
          const note = event.note === undefined ? '' : ` (${printable(event.note)})`
          say(`${output.paint('green', '✓')} ${words[event.step]} ${printable(event.subject)}${size} in ${formatDuration(event.durationSeconds)}${note}`)
          return
        }
        case 'warning':
          // Also with --quiet: it is no remark that something was left out.
          clear()
          return void output.stderr.write(`${output.paint('yellow', '!')} ${printable(event.message, true)}\n`)
        case 'note':
          return output.verbose ? say(`${output.paint('dim', '·')} ${printable(event.message, true)}`) : undefined
        case 'tool-line':
          return output.verbose ? say(output.paint('dim', `  ${event.tool}: ${printable(event.line)}`)) : undefined
        case 'retry':
          return say(
            `${output.paint('yellow', '!')} ${event.operation} failed (${printable(event.reason)}); try ${event.attempt + 1} in ${formatDuration(event.waitMs / 1000)}`,
          )
        default:
          throw new Error(`unexpected event ${JSON.stringify(event satisfies never)}`)
      }
    },
  }
}

function bar(word: string, doneBytes: number, expectedBytes: number | null, seconds: number, note: string | undefined): string {
  const rate = seconds > 0.5 ? `  ${formatBytes(doneBytes / seconds)}/s` : ''
  const tail = note === undefined ? '' : `  ${printable(note)}`
  if (expectedBytes === null || expectedBytes <= 0) return `${word} ${formatBytes(doneBytes)}${rate}${tail}`
  // The expectation is an estimate (a database is larger than its dump, mostly): never claim the end before it.
  const share = Math.min(0.99, doneBytes / expectedBytes)
  const filled = Math.round(share * 20)
  const eta = rate === '' || doneBytes === 0 ? '' : `  ETA ${formatDuration((Math.max(0, expectedBytes - doneBytes) / doneBytes) * seconds)}`
  return `${word} [${'='.repeat(Math.max(0, filled - 1))}${filled > 0 ? '>' : ''}${' '.repeat(20 - filled)}] ${Math.floor(share * 100)}%  ${formatBytes(doneBytes)}${rate}${eta}${tail}`
}
