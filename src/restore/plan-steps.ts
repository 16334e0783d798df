import type { RestorePlan } from './restore-plan.ts'
import type { RestoreRequest } from './restore-request.ts'

/** Every step of a plan in words, in the order of the story (restore-dump.ts). */
export function describeSteps(request: RestoreRequest, plan: Pick<RestorePlan, 'action' | 'existing' | 'safetyBackup' | 'validation'>): readonly string[] {
  const { goal, hooks, tables, keptAs } = request
  const { action } = plan
  const what = tables.length === 0 ? 'everything' : `tables ${tables.join(', ')}`
  const steps: string[] = []
  if (hooks.before !== null) steps.push('run the "before" command')
  if (changesTheOriginal(request) && plan.existing !== null)
    steps.push(
      plan.safetyBackup
        ? `take and verify a safety backup of "${goal.name}"`
        : `no safety backup${action === 'swap' ? `; the old database is kept as "${keptAs}"` : ''}`,
    )
  steps.push('read and verify the whole backup')
  if (request.roleMap.size > 0) steps.push(`in its owners and grants put ${[...request.roleMap].map(([from, to]) => `"${to}" for "${from}"`).join(', ')}`)
  if (action === 'replace-own-test' || action === 'drop-and-create' || action === 'drop-and-restore') steps.push(`drop database "${goal.name}"`)
  if (action === 'swap') steps.push('create a new database beside it')
  else if (loadsBeside(request, action)) steps.push('create a new database under another name')
  else if (action !== 'use-empty' && action !== 'into-existing') steps.push(`create database "${goal.name}"`)
  if (goal.kind === 'into')
    steps.push(
      goal.how === 'clean'
        ? `drop ${tables.length === 0 ? "the backup's objects" : what} as they are there with all their rows, and restore ${what}, in one transaction`
        : `load the rows of ${what}${goal.how === 'truncate' ? ', after emptying those tables' : ''}`,
    )
  else steps.push(`restore ${what} with ${request.jobs} workers`)
  if (request.sql !== null) steps.push(`run ${request.sql.file}`)
  if (plan.validation === 'content') steps.push('compare the content of every table with the fingerprint')
  if (plan.validation === 'rows') steps.push(tables.length === 0 ? 'count the rows of every table' : `count the rows of ${what}`)
  if (action === 'swap')
    steps.push(`swap: "${goal.name}" becomes "${keptAs}" and the new one takes its name; sessions are ended, waiting clients see one failed attempt`)
  else if (loadsBeside(request, action)) steps.push(`rename it to "${goal.name}"; until then there is no database of that name`)
  if (hooks.after !== null) steps.push('run the "after" command, also after a failure')
  if (request.health !== null) steps.push(`wait until ${originOf(request.health.url)} answers`)
  return steps
}

/** Whether the copy gets the name it is for only when it is whole: where something of that name is replaced, dropped first, or missing. */
export function loadsBeside({ goal }: Pick<RestoreRequest, 'goal'>, action: RestorePlan['action']): boolean {
  if (action === 'swap' || action === 'drop-and-create' || action === 'drop-and-restore') return true
  return action === 'create' && (goal.kind === 'replace' || goal.kind === 'drop-existing')
}

/** Whether the database that is changed is the original itself: then it was meant, and a safety backup comes first. */
export function changesTheOriginal({ goal }: Pick<RestoreRequest, 'goal'>): boolean {
  return goal.kind === 'replace' || (goal.kind === 'into' && !goal.explicit)
}

/** A health URL may carry a token; only where it leads is shown. */
function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : 'the health URL'
}
