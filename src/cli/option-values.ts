import { InvalidArgumentError } from 'commander'
import { Failure } from '../kernel/failure.ts'

/** For options that may be given several times: one value each, so that a following argument is never swallowed. */
export function collect(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value]
}

/** A number of workers. */
export function parseCount(text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1 || count > 64) throw new InvalidArgumentError('expected a whole number from 1 to 64.')
  return count
}

/** Of `--tablespace-map OLD=NEW`. */
export function parseTablespaceMap(pairs: readonly string[]): Readonly<Record<string, string>> {
  const map = new Map<string, string>()
  for (const pair of pairs) {
    // The last =, for a path may hold others.
    const at = pair.lastIndexOf('=')
    if (at < 1 || at === pair.length - 1)
      throw new Failure('usage-invalid', `--tablespace-map ${pair}: the form is OLD=NEW, with the tablespace's OID or path and a directory`)
    map.set(pair.slice(0, at), pair.slice(at + 1))
  }
  return Object.fromEntries(map)
}
