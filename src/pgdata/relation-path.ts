/** A file of a relation: one segment of one fork. OIDs and relfilenodes are below 2³². */
export interface RelationFile {
  /** 1663 is pg_default (`base/`), 1664 pg_global (`global/`), others are user tablespaces. */
  readonly tablespaceOid: number
  /** 0 for the relations that all databases share. */
  readonly databaseOid: number
  readonly relfilenode: number
  readonly fork: Fork
  /** The relation's blocks begin in this file at `segment × relationSegmentPages`. */
  readonly segment: number
  /** A temporary table of a session; it does not survive it. */
  readonly isTemporary: boolean
}

export type Fork = 'main' | 'fsm' | 'vm' | 'init'

const defaultTablespace = 1663
const globalTablespace = 1664
const number = String.raw`[1-9]\d{0,9}`
const place = new RegExp(String.raw`^(?:global|base/(?<base>${number})|pg_tblspc/(?<tablespace>${number})/PG_\d+_\d+/(?<database>${number}))/(?<name>[^/]+)$`)
const file = new RegExp(String.raw`^(?<backend>t\d+_)?(?<relfilenode>${number})(?:_(?<fork>fsm|vm|init))?(?:\.(?<segment>${number}))?$`)

/** What the relation file at this path (relative to the data directory) is, or null where PostgreSQL keeps something else under such a name. */
export function relationFileOf(path: string): RelationFile | null {
  const where = place.exec(path)?.groups
  const what = file.exec(where?.['name'] ?? '')?.groups
  if (where === undefined || what === undefined) return null
  const isGlobal = where['base'] === undefined && where['tablespace'] === undefined
  const isTemporary = what['backend'] !== undefined
  const found = {
    tablespaceOid: isGlobal ? globalTablespace : Number(where['tablespace'] ?? defaultTablespace),
    databaseOid: isGlobal ? 0 : Number(where['base'] ?? where['database']),
    relfilenode: Number(what['relfilenode']),
    fork: (what['fork'] ?? 'main') as Fork,
    segment: Number(what['segment'] ?? 0),
    isTemporary,
  }
  const isInRange = [found.tablespaceOid, found.databaseOid, found.relfilenode, found.segment].every((oid) => oid < 2 ** 32)
  return isInRange && !(isGlobal && isTemporary) ? found : null
}

/**
 * Whether the file belongs to an unlogged relation and is emptied when a server starts after a crash or a restore: it is no init fork itself, and
 * the relation has one. `names` are the file names in the same directory, listed no earlier than the file was found.
 */
export function isUnlogged(relation: RelationFile, names: ReadonlySet<string>): boolean {
  return relation.fork !== 'init' && !relation.isTemporary && names.has(`${relation.relfilenode}_init`)
}
