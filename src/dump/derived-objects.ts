import type { ArchiveToc } from './archive-toc.ts'
import type { DerivedObject } from './fingerprint.ts'

/** Entries that are content (compared as such), settings of the restore itself, or notes on other objects. */
const notDerived = new Set([
  'ENCODING',
  'STDSTRINGS',
  'SEARCHPATH',
  'DATABASE',
  'DATABASE PROPERTIES',
  'TABLE DATA',
  'SEQUENCE SET',
  'SEQUENCE OWNED BY',
  'BLOB',
  'BLOBS',
  'BLOB METADATA',
  'MATERIALIZED VIEW DATA',
  'STATISTICS DATA',
  'COMMENT',
  'ACL',
  'DEFAULT ACL',
  'SECURITY LABEL',
  'SHELL TYPE',
])

/** One named object of a dump, as its table of contents or the comments of plain SQL name it. */
export interface NamedObject {
  readonly desc: string
  readonly schema: string
  readonly tag: string
}

/** What must exist in a restored copy besides the rows. */
export function derivedObjects(objects: Iterable<NamedObject>): DerivedObject[] {
  const all = [...objects]
  const key = (object: NamedObject) => JSON.stringify([object.schema, object.tag])
  const filled = new Set(all.filter((object) => object.desc === 'MATERIALIZED VIEW DATA').map(key))
  return all
    .filter((object) => !notDerived.has(object.desc))
    .map(({ desc, schema, tag }) => ({ desc, schema, tag, populated: desc === 'MATERIALIZED VIEW' ? filled.has(key({ desc, schema, tag })) : null }))
}

export function derivedOfToc(toc: ArchiveToc): DerivedObject[] {
  return derivedObjects(toc.entries.map(({ desc, namespace, tag }) => ({ desc, schema: namespace ?? '', tag })))
}
