import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** One member of an interface as it stands in the source. */
export interface Member {
  readonly name: string
  readonly type: string
  /** Its doc comment, '' where it has none. */
  readonly about: string
}

const root = join(import.meta.dirname, '..', '..')

export function readSource(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

/** The members of `export interface name` in `file`. Throws when it is not found or not understood. */
export function interfaceMembers(file: string, name: string): readonly Member[] {
  const source = readSource(file)
  const start = new RegExp(`^export interface ${name}(?: extends [^{]+)? \\{$`, 'm').exec(source)
  if (start === null) throw new Error(`${file} has no interface ${name}`)
  const body = source.slice(start.index + start[0].length, source.indexOf('\n}', start.index))
  return statementsOf(body, /^(?:readonly )?\w+\??: /).map(({ about, text }) => {
    const member = /^(?:readonly )?(\w+)\??: (.+)$/.exec(text)
    if (member === null) throw new Error(`${file}: interface ${name} has a member that is not understood: ${text}`)
    return { name: member[1] ?? '', type: plainType(member[2] ?? ''), about }
  })
}

/** Declarations that begin like `beginning`, each with its doc comment, on one line whatever the formatter made of it. */
export function statementsOf(body: string, beginning: RegExp): { about: string; text: string }[] {
  const found: { about: string; text: string }[] = []
  let about = ''
  let depth = 0
  for (const line of body.split('\n').map((each) => each.trim())) {
    const comment = /^\/\*\*\s*(.*?)\s*\*\/$/.exec(line)
    const last = found.at(-1)
    if (line === '') continue
    else if (comment !== null && depth === 0) about = comment[1] ?? ''
    else if (depth === 0 && beginning.test(line)) {
      found.push({ about, text: line })
      about = ''
    } else if (last !== undefined) last.text += `${/[{([|;,:]$/.test(last.text) || /^[})\]|]/.test(line) ? ' ' : '; '}${line}`
    else throw new Error(`this is not understood: ${line}`)
    depth += (line.match(/[{([]/g)?.length ?? 0) - (line.match(/[})\]]/g)?.length ?? 0)
  }
  // A leading bar stands only where a union was broken over lines.
  return found.map(({ about: comment, text }) => ({ about: comment, text: text.replaceAll(': | ', ': ').replaceAll('[ ', '[').replaceAll(' ]', ']') }))
}

/** `readonly` says nothing to readers of JSON. */
export function plainType(type: string): string {
  return type.replaceAll('readonly ', '').replaceAll('; }', ' }')
}

/** Whether any part of the program emits this kind of event; one that is only declared must not be promised to anybody. */
export function isEmitted(type: string): boolean {
  return isWritten(new RegExp(`emit(?:\\?\\.)?\\(\\{\\s*type: '${type}'`))
}

/** Whether this stands anywhere in the program, outside tests, renderers and the files in `without`. */
export function isWritten(wanted: string | RegExp, without: readonly string[] = []): boolean {
  const files = globSync('src/**/*.ts', { cwd: root }).filter((file) => !file.endsWith('.test.ts') && !file.startsWith(join('src', 'cli', 'render')))
  return files.some((file) => !without.includes(file) && (typeof wanted === 'string' ? readSource(file).includes(wanted) : wanted.test(readSource(file))))
}
