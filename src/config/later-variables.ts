import { Secret } from '../kernel/secret.ts'
import { agreeing, contradiction, takeLater, type Environment, type VariableValue } from './environment.ts'
import type { NotActing } from './settings.ts'
import { variableNamed, variables } from './variables.ts'
import type { SettingPath } from './yaml-file.ts'

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

/** What the retention variables mean together. The two families of names count in their own units, so they cannot be mixed. */
function retentionVariables(environment: Environment): RetentionVariable[] {
  const set = (names: readonly string[]): VariableValue[] => names.map((name) => environment.peek(name)).filter((value) => value !== undefined)
  const inDays = set(classesInDays)
  const byName = set(classesByName)
  const [ofDays, ofNames] = [inDays[0], byName[0]]
  if (ofDays !== undefined && ofNames !== undefined) throw contradiction(ofDays, ofNames)

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
