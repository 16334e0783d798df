import { Failure } from '../kernel/failure.ts'

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
const days = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']

const cronFields = [
  { name: 'minute', least: 0, most: 59, words: [] as readonly string[], offset: 0 },
  { name: 'hour', least: 0, most: 23, words: [], offset: 0 },
  { name: 'day of month', least: 1, most: 31, words: [], offset: 0 },
  { name: 'month', least: 1, most: 12, words: months, offset: 1 },
  { name: 'day of week', least: 0, most: 7, words: days, offset: 0 },
]

/**
 * Checks the form of a schedule and returns it trimmed: five cron fields, `@daily` and its kin, or `first monday 09:00`
 * (which plain cron cannot say, because it ORs day of month and day of week).
 */
export function parseScheduleExpression(text: string): string {
  const expression = text.trim()
  if (/^@(?:yearly|annually|monthly|weekly|daily|midnight|hourly)$/i.test(expression)) return expression
  if (/^(?:first|second|third|fourth|last) (?:sun|mon|tues|wednes|thurs|fri|satur)day (?:[01]\d|2[0-3]):[0-5]\d$/i.test(expression)) return expression
  const parts = expression.split(/\s+/)
  if (parts.length !== cronFields.length) {
    throw new Failure('config-invalid', 'expected a schedule: five cron fields such as "0 2 * * *", @daily, or "first monday 09:00"')
  }
  parts.forEach((part, index) => {
    const field = cronFields[index]
    if (field !== undefined && !part.split(',').every((item) => isCronItem(item.toLowerCase(), field))) {
      throw new Failure(
        'config-invalid',
        `the schedule's field "${field.name}" is not understood (${field.least} to ${field.most}, *, ranges a-b, steps */n, lists a,b)`,
      )
    }
  })
  return expression
}

function isCronItem(item: string, field: (typeof cronFields)[number]): boolean {
  const match = /^(?:\*|([a-z]{3}|\d{1,2})(?:-([a-z]{3}|\d{1,2}))?)(?:\/(\d{1,3}))?$/.exec(item)
  if (match === null) return false
  const numberOf = (word: string | undefined) =>
    word === undefined ? field.least : /^\d/.test(word) ? Number(word) : field.words.indexOf(word) + field.offset - (field.words.includes(word) ? 0 : 1000)
  const from = numberOf(match[1])
  const to = match[2] === undefined ? from : numberOf(match[2])
  return from >= field.least && to <= field.most && from <= to && match[3] !== '0'
}
