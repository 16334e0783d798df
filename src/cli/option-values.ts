import { InvalidArgumentError } from 'commander'

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
