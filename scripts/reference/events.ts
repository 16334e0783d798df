import { isEmitted, isWritten, plainType, readSource, statementsOf } from './declarations.ts'
import { code, generated, table } from './markdown.ts'

const file = 'src/kernel/event.ts'

/** docs/reference/events.md: the union of kernel/event.ts. */
export function eventsPage(): string {
  const source = readSource(file)
  return [
    generated,
    '',
    '# Events',
    '',
    'What Tidemark tells while it works: one JSON object per line on standard error with `--progress=json`, or the argument of `onEvent` in Node.',
    'The result itself is on standard output. New kinds and new keys may be added; what is here keeps its meaning.',
    '',
    ...table(
      ['type', 'keys', 'meaning'],
      eventsOf(source).map(({ type, keys, about }) => [code(type), keys.map(code).join('<br>'), about]),
    ),
    '',
    '`step` is one of ' + wordsOf(source, 'Step').map(code).join(', ') + '.',
    '',
    'Sizes are bytes, durations seconds (`waitMs`: milliseconds). Secrets never occur in events.',
    '',
  ].join('\n')
}

function eventsOf(source: string): { type: string; keys: string[]; about: string }[] {
  const start = source.indexOf('export type Event =') + 'export type Event ='.length
  return statementsOf(source.slice(start, source.indexOf('export type Step =')), /^\| \{/).map(({ about, text }) => {
    const member = /^\| \{ type: '([\w-]+)'; (.*) \}$/.exec(text)
    if (member === null) throw new Error(`${file}: an event is not understood: ${text}`)
    const [, type = '', keys = ''] = member
    if (!isEmitted(type)) throw new Error(`${file}: event ${type} is declared and never emitted`)
    return { type, keys: plainType(keys).split('; '), about: about === '' ? ownMeaning(type) : about }
  })
}

/** Of those that explain themselves in the code. */
function ownMeaning(type: string): string {
  const meanings: Readonly<Record<string, string>> = {
    'step-ended': 'The step is done. `note` says what came of it, for people.',
    retry: 'Something failed that is worth another try, which comes after `waitMs`.',
  }
  const meaning = meanings[type]
  if (meaning === undefined) throw new Error(`event ${type} has no meaning in ${file} nor in scripts/reference/events.ts`)
  return meaning
}

function wordsOf(source: string, name: 'Step'): string[] {
  const text = source.slice(source.indexOf(`export type ${name} =`))
  const words = [...text.slice(0, text.indexOf('\n\n')).matchAll(/'([\w-]+)'/g)].map((match) => match[1] ?? '')
  const unused = words.find((word) => !isWritten(`step: '${word}'`))
  if (unused !== undefined) throw new Error(`${file}: step ${unused} is declared and never begins`)
  return words
}
