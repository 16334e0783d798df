import { Secret } from '../kernel/secret.ts'
import { jsonSchema } from './schema.ts'
import { isReference, laterKey } from './schema-parts.ts'
import type { NotActing } from './settings.ts'
import { formatPath, type ConfigSource, type SettingPath } from './yaml-file.ts'

/** The parts of a file whose engines come later, found by the mark in the schema, with what was written. */
export function laterInFile(source: ConfigSource): NotActing[] {
  const found: NotActing[] = []
  collect(jsonSchema(), source.config, [], (path, area, value) =>
    found.push({ setting: formatPath(path), area, origin: source.originOf(path), value: hideInline(value) }),
  )
  return found
}

/** Webhook addresses and headers usually are secrets; written inline they must still not be shown. */
function hideInline(value: unknown, key = ''): unknown {
  if (typeof value === 'string') return secretKeys.has(key) && !isReference(value) ? new Secret(value) : value
  if (Array.isArray(value)) return value.map((item: unknown) => hideInline(item, key))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, hideInline(inner, key === 'headers' ? 'headers' : name)]))
}

const secretKeys = new Set(['url', 'headers', 'password'])

type SchemaNode = Readonly<Record<string, unknown>>
type Report = (path: SettingPath, area: string, value: unknown) => void

function collect(schema: SchemaNode, value: unknown, path: SettingPath, report: Report): void {
  if (value === undefined || value === null) return
  const area = schema[laterKey]
  if (typeof area === 'string') {
    report(path, area, value)
    return
  }
  for (const alternative of branches(schema)) if (accepts(alternative, value)) collect(alternative, value, path, report)
  if (Array.isArray(value)) {
    const items = schema['items']
    if (isNode(items)) value.forEach((item: unknown, index) => collect(items, item, [...path, index], report))
    return
  }
  if (typeof value !== 'object') return
  const properties = isNode(schema['properties']) ? schema['properties'] : {}
  const rest = schema['additionalProperties']
  for (const [key, inner] of Object.entries(value)) {
    const own = Object.hasOwn(properties, key) ? properties[key] : rest
    if (isNode(own)) collect(own, inner, [...path, key], report)
  }
}

function branches(schema: SchemaNode): SchemaNode[] {
  const alternatives = schema['anyOf']
  return Array.isArray(alternatives) ? alternatives.filter(isNode) : []
}

/** Whether a value that is already known to be valid belongs to this alternative: told by its keys. */
function accepts(schema: SchemaNode, value: unknown): boolean {
  if (branches(schema).length > 0) return branches(schema).some((alternative) => accepts(alternative, value))
  const properties = schema['properties']
  if (!isNode(properties)) return false
  return typeof value === 'object' && value !== null && Object.keys(value).every((key) => Object.hasOwn(properties, key))
}

function isNode(value: unknown): value is SchemaNode {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
