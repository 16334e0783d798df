import { Secret } from '../kernel/secret.ts'
import { agreeing, contradiction, takeLater, type Environment, type VariableValue } from './environment.ts'
import { jsonSchema } from './schema.ts'
import { isReference, laterKey } from './schema-parts.ts'
import type { NotActing } from './settings.ts'
import { variableNamed, variables } from './variables.ts'
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

const classesInDays = ['DAILY_RETENTION', 'WEEKLY_RETENTION', 'MONTHLY_RETENTION'] as const
const classesByName = ['BACKUP_WEEKLY_RETENTION', 'BACKUP_MONTHLY_RETENTION'] as const

/**
 * The variables of the table whose engines come later: checked, then named as not acting. `cluster` is the one they are about
 * (null: none or several, so retention and schedule variables are ignored by name); `written` tells what a file already says.
 */
export function laterVariables(environment: Environment, cluster: string | null, written: (path: SettingPath) => string | null): NotActing[] {
  const found: NotActing[] = []
  const add = (name: string, setting: string, value: unknown) => {
    const spec = variableNamed(name)
    const fromFile = written(setting.startsWith('notify.') || cluster === null ? ['notify'] : ['clusters', cluster, spec?.setting.split('.')[2] ?? ''])
    if (spec === undefined) return
    if (fromFile !== null) {
      environment.ignore(name, `the configuration file says it (${fromFile})`)
      return
    }
    const taken = takeLater(environment, name)
    if (taken !== undefined)
      found.push({ setting, area: taken.area, origin: taken.value.origin, value: spec.rule === 'secret' ? new Secret(taken.value.text) : value })
  }
  if (cluster === null) {
    for (const spec of variables)
      if (typeof spec.status === 'object' && spec.setting.startsWith('clusters.*'))
        environment.ignore(spec.name, 'it can only mean one cluster; write it into the configuration file')
  } else {
    const setting = (key: string) => `clusters.${cluster}.${key}`
    for (const { variable, key, value } of retentionVariables(environment)) add(variable, setting(`retention.${key}`), value)
    const interval = environment.peek('BACKUP_INTERVAL')
    if (interval !== undefined) add(interval.name, setting('schedule.interval'), `${interval.text.trim()}h`)
  }
  for (const spec of variables.filter((candidate) => candidate.setting.startsWith('notify.'))) {
    const value = environment.peek(spec.name)
    if (value !== undefined) add(spec.name, spec.setting, value.text)
  }
  return found
}

interface RetentionVariable {
  readonly variable: string
  readonly key: string
  /** A period as the configuration file writes it: `7d`, `12w`, `12m`. */
  readonly value: string
}

/** What the seeds' variables mean together: seed-details 26 and 28. Units follow the name: 000 counts days, 003 weeks and months. */
function retentionVariables(environment: Environment): RetentionVariable[] {
  const set = (names: readonly string[]): VariableValue[] => names.map((name) => environment.peek(name)).filter((value) => value !== undefined)
  const inDays = set(classesInDays)
  const byName = set(classesByName)
  const [mixed, with000] = [byName[0], inDays[0]]
  if (mixed !== undefined && with000 !== undefined) throw contradiction(with000, mixed)

  const result: RetentionVariable[] = []
  const units = {
    DAILY_RETENTION: ['daily', 'd'],
    WEEKLY_RETENTION: ['weekly', 'd'],
    MONTHLY_RETENTION: ['monthly', 'd'],
    BACKUP_WEEKLY_RETENTION: ['weekly', 'w'],
    BACKUP_MONTHLY_RETENTION: ['monthly', 'm'],
  } as const
  for (const [variable, [key, unit]] of Object.entries(units)) {
    const value = environment.peek(variable)
    if (value !== undefined) result.push({ variable, key, value: `${value.text.trim()}${unit}` })
  }
  const classes = [...inDays, ...byName]
  const age = environment.peek('BACKUP_RETENTION_DAYS')
  const daily = environment.peek('DAILY_RETENTION')
  if (age !== undefined && daily !== undefined) environment.ignore(age.name, `${daily.name} decides about daily backups; age never removes what a class keeps`)
  else if (age !== undefined && classes.length > 0) result.push({ variable: age.name, key: 'daily', value: `${age.text.trim()}d` })

  // Two ages that differ contradict each other; taken here so that `agreeing` names both.
  const ages = classes.length > 0 ? ['RETENTION_DAYS', 'BACKUP_RETENTION'] : ['BACKUP_RETENTION_DAYS', 'RETENTION_DAYS', 'BACKUP_RETENTION']
  const maxAge = agreeing(environment, ages, (text) => String(Number(text)))
  if (maxAge !== undefined) result.push({ variable: maxAge.name, key: 'maxAge', value: `${maxAge.text.trim()}d` })
  return result
}
