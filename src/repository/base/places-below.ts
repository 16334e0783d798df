import type { LeafPlace } from '../../packs/root-tables.ts'

/**
 * The leaves of a root in which `prefix` may occur: that path itself, or with a slash at its end what lies below it. Pure. A group of files holds the paths from its own up to the next group's;
 * a part of a large file holds its own only.
 */
export function placesBelow(leaves: readonly LeafPlace[], prefix: string): readonly LeafPlace[] {
  const holds = (path: string): boolean => (prefix.endsWith('/') ? path.startsWith(prefix) : path === prefix)
  const groups = leaves.filter(({ firstPage }) => firstPage === null)
  const wanted = new Set<LeafPlace>(leaves.filter(({ path, firstPage }) => firstPage !== null && holds(path)))
  for (const [index, group] of groups.entries()) {
    const next = groups[index + 1]?.path
    // The first group may begin behind it, and all of what the prefix stands for lies between it and the first path that sorts behind.
    if (holds(group.path) || (group.path < prefix && (next === undefined || next > prefix))) wanted.add(group)
  }
  return leaves.filter((place) => wanted.has(place))
}
