import { z } from 'zod'

/**
 * Databases that Tidemark made carry a mark in their comment. A database is dropped only by OID and mark, never by its
 * name alone: a name can be cut, taken over or mistyped, and then it is somebody's production.
 */
const markSchema = z.object({
  kind: z.enum(['restore', 'test', 'drill', 'old', 'undone']),
  run: z.string(),
  backup: z.string().nullable(),
  /** The name it was made under: one that was given another name since is somebody's now. */
  name: z.string().nullable().default(null),
  at: z.string(),
  /** From this moment a sweeper may drop it; null = kept until a person says so. Whoever owns a database writes its comment, so nothing in it is believed unread. */
  expires: z.string().refine(isInstant, 'not an instant').nullable(),
  /** It is being loaded, or its run was killed while it was: nobody was told that it is whole. */
  unfinished: z.boolean().default(false),
})
export type Mark = z.infer<typeof markSchema>

const prefix = 'tidemark:'

export function formatMark(mark: Mark): string {
  return `${prefix}${JSON.stringify(mark)}`
}

export function parseMark(comment: string | null): Mark | undefined {
  if (comment === null || !comment.startsWith(prefix)) return undefined
  try {
    return markSchema.parse(JSON.parse(comment.slice(prefix.length)))
  } catch {
    // A comment that only looks like ours gives no right to drop anything.
    return undefined
  }
}

function isInstant(text: string): boolean {
  try {
    Temporal.Instant.from(text)
    return true
  } catch {
    return false
  }
}
