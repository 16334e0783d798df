import { beyondItsDatabase, type PlainReach } from '../dump/plain-reach.ts'
import type { Context } from '../kernel/context.ts'

/** Says of a dump that is whole what else it would do: that every byte is there makes it no safer to give to psql. */
export function warnOfReach(
  content: { readonly suspicious: readonly string[]; readonly reach: PlainReach | null } | null,
  name: string,
  context: Context,
): void {
  const beyond = content === null ? null : beyondItsDatabase(content)
  if (beyond !== null) context.emit({ type: 'warning', code: 'target-unsafe', message: `${name}: ${beyond}` })
}
