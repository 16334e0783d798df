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

/** The members of `export interface name` in `file`; each stands on one line there, as the formatter leaves it. Throws when it is not found or not understood. */
export function interfaceMembers(file: string, name: string): readonly Member[] {
  const source = readSource(file)
  const start = new RegExp(`^export interface ${name}(?: extends [^{]+)? \\{$`, 'm').exec(source)
  if (start === null) throw new Error(`${file} has no interface ${name}`)
  const end = source.indexOf('\n}', start.index)
  const members: Member[] = []
  let about = ''
  for (const line of source.slice(start.index + start[0].length, end).split('\n').map((each) => each.trim())) {
    if (line === '') continue
    const comment = /^\/\*\*\s*(.*?)\s*\*\/$/.exec(line)
    const member = /^(?:readonly )?(\w+)\??: (.+)$/.exec(line)
    if (comment !== null) about = comment[1] ?? ''
    else if (member !== null) {
      members.push({ name: member[1] ?? '', type: plainType(member[2] ?? ''), about })
      about = ''
    } else throw new Error(`${file}: interface ${name} has a line that is not understood: ${line}`)
  }
  return members
}

/** `readonly` says nothing to readers of JSON. */
export function plainType(type: string): string {
  return type.replaceAll('readonly ', '')
}

/** Whether any program emits this kind of event; one that is only declared is not promised to anybody. */
export function isEmitted(type: string): boolean {
  const files = globSync('src/**/*.ts', { cwd: root }).filter((file) => !file.endsWith('.test.ts') && !file.startsWith(join('src', 'cli', 'render')))
  return files.some((file) => new RegExp(`emit(?:\\?\\.)?\\(\\{\\s*type: '${type}'`).test(readSource(file)))
}
