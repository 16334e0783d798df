import { stringify } from 'yaml'
import { Failure } from '../kernel/failure.ts'
import { parseConnectionUrl } from '../postgres/connection-url.ts'
import { isReference } from './schema-parts.ts'

/** What `init` asked, ready to be written. */
export interface ConfigAnswers {
  readonly cluster: string
  /** `env:DATABASE_URL`, `file:/path`, or a URL without password. */
  readonly url: string
  readonly adminUrl?: string
  readonly container?: string
  readonly databases?: readonly string[]
  readonly format?: string
  readonly compress?: string
  readonly timeZone?: string
  readonly repositories: readonly RepositoryAnswer[]
  readonly profile?: Profile
  /** Left out: nothing is said of it. */
  readonly encryption?: 'sealed' | 'none'
}

export type RepositoryAnswer =
  | { readonly name: string; readonly path: string }
  | {
      readonly name: string
      readonly s3: { readonly bucket: string; readonly region?: string; readonly prefix?: string; readonly endpoint?: string }
      readonly layout?: string
    }

export type Profile = 'development' | 'staging' | 'production'

/** Seed 000's three profiles: daily and 7 days, twice daily and 14 days, hourly and 30 days with weekly and monthly. */
const profiles: Readonly<Record<Profile, { readonly schedule: object; readonly retention: object }>> = {
  development: { schedule: { dump: '0 2 * * *' }, retention: { daily: '7d' } },
  staging: { schedule: { dump: '0 2,14 * * *' }, retention: { daily: '14d' } },
  production: { schedule: { dump: '0 * * * *' }, retention: { daily: '30d', weekly: '12w', monthly: '12m' } },
}

/** A commented `tidemark.yaml`. Refuses a URL with a password in it (`config-invalid`): secrets are written by reference. */
export function renderConfigYaml(answers: ConfigAnswers): string {
  for (const url of [answers.url, answers.adminUrl]) if (url !== undefined) refuseInlinePassword(url)
  const cluster: string[] = [...field('url', answers.url, answers.url.startsWith('env:') ? 'from the environment or the .env file' : undefined)]
  if (answers.adminUrl !== undefined) cluster.push(...field('adminUrl', answers.adminUrl, 'role for restore and drill on the same server'))
  if (answers.container !== undefined) cluster.push(...field('container', answers.container, 'client programs run in this container'))
  if (answers.timeZone !== undefined) cluster.push(...field('timezone', answers.timeZone, 'days are counted here'))
  const dump = {
    ...(answers.databases === undefined ? {} : { databases: answers.databases }),
    format: answers.format ?? 'custom',
    compress: answers.compress ?? 'zstd:3',
  }
  cluster.push(...field('dump', dump))
  if (answers.profile !== undefined) {
    const { schedule, retention } = profiles[answers.profile]
    cluster.push('# checked and kept; schedule and retention do not act in this version', ...field('schedule', schedule), ...field('retention', retention))
  }
  cluster.push('# questions every restored copy must answer, for example', '# checks: [ { sql: "select count(*) > 0 from users", expect: true } ]')

  const repositories = answers.repositories.flatMap((repository) => {
    const { name, ...place } = repository
    const content = 's3' in place && place.layout === undefined ? { ...place, layout: 'flat' } : place
    return [`${key(name)}:`, ...Object.entries(content).flatMap(([part, value]) => indent(field(part, value)))]
  })
  const usesS3 = answers.repositories.some((repository) => 's3' in repository)
  return [
    '# Tidemark: every setting is in docs/reference/configuration.md; tidemark config check reads this file.',
    '# Secrets are written by reference: env:NAME (environment or .env) or file:/path.',
    '',
    'clusters:',
    ...indent([`${key(answers.cluster)}:`, ...indent(cluster)]),
    '',
    'repositories:',
    ...(usesS3 ? ['  # S3 credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the role of the machine'] : []),
    ...indent(repositories),
    '',
    ...encryptionLines[answers.encryption ?? 'unsaid'],
  ].join('\n')
}

const encryptionLines = {
  sealed: ['# backups are sealed, or not made at all; who reads them: tidemark key list', 'encryption: {}', ''],
  none: ['# backups are in clear, on purpose', 'encryption: none', ''],
  unsaid: [],
} as const

function refuseInlinePassword(url: string): void {
  if (isReference(url)) return
  if (parseConnectionUrl(url).password === null) return
  throw new Failure('config-invalid', 'cannot write the configuration: the connection URL holds a password, which belongs outside the file', {
    hints: ['put the URL into .env as DATABASE_URL=… and write url: env:DATABASE_URL', 'or into a file only you can read, and write url: file:/path'],
  })
}

function field(name: string, value: unknown, comment?: string): string[] {
  const text = stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trimEnd()
  return [`${name}: ${text}${comment === undefined ? '' : `  # ${comment}`}`]
}

function key(name: string): string {
  return stringify(name, { lineWidth: 0 }).trimEnd()
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`)
}
