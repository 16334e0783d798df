import { z } from 'zod'
import { parseScheduleExpression } from './cron.ts'
import { command, later, parsed, secret, strict, text, words } from './schema-parts.ts'
import { parseDuration, parsePeriod, parseSize } from './units.ts'

/** Parts of the file whose engines come later: validated in full and carried, so that a file written today stays valid. */

const period = (about: string) => parsed(parsePeriod, ['7d', '12w', '12m']).describe(`${about}; here m means months`)
const duration = (about: string) => parsed(parseDuration, ['5m', '36h']).describe(about)
const timetable = (about: string) => parsed(parseScheduleExpression, ['0 2 * * *', 'first monday 09:00']).describe(about)
const count = (about: string) => z.int().min(0).max(100_000).describe(about)
const size = (about: string) => z.union([parsed(parseSize, ['10GB']), z.int().min(0)]).describe(about)

export const retention = later(
  'retention',
  strict({
    hourly: period('keep hourly backups').optional(),
    daily: period('keep daily backups').optional(),
    weekly: period('keep weekly backups').optional(),
    monthly: period('keep monthly backups').optional(),
    yearly: period('keep yearly backups').optional(),
    maxAge: period('remove what is older, unless a class keeps it').optional(),
    keepLast: count('always keep this many of the newest good ones').optional(),
    pitr: period('length of the window in which every moment can be restored').optional(),
    recoveryTests: period('keep the copies that drills leave').optional(),
    preset: z.enum(['s0', 's3']).describe('the exact rule of seed 000 or 003').optional(),
  }).describe('how long backups are kept'),
)

const jobs = ['dump', 'full', 'incr', 'verify', 'copy', 'expire', 'drill', 'health', 'report', 'metrics', 'files', 'logs'] as const

export const schedule = later(
  'schedule',
  strict({
    ...(Object.fromEntries(jobs.map((job) => [job, timetable(`when to run ${job}`).optional()])) as Record<(typeof jobs)[number], z.ZodOptional<z.ZodString>>),
    interval: duration('time between backups, instead of a timetable').optional(),
  }).describe('when the daemon runs what'),
)

export const archivedWal = later('base.wal', z.enum(['stream', 'archive', 'none']).describe('how WAL reaches the repository between backups'))
export const walSlot = later('base.slot', text().describe('replication slot'))

export const goals = later(
  'goals',
  strict({
    rpo: duration('how much may be lost').optional(),
    rto: z
      .union([
        parsed(parseDuration, ['1h']),
        strict({
          application: duration('the application runs again').optional(),
          database: duration('the database is back').optional(),
          system: duration('everything is back').optional(),
        }),
      ])
      .describe('how long a recovery may take')
      .optional(),
  }).describe('recovery objectives'),
)

export const ssh = later(
  'ssh',
  strict({
    host: text().describe('host, with :port if it is not 22'),
    user: text().describe('account').optional(),
    key: text().describe('private key file').optional(),
    knownHosts: text().describe('file of known host keys').optional(),
  }).describe('tunnel to the server'),
)

export const alerts = later(
  'alerts',
  strict({
    maxAge: duration('the newest backup is older').optional(),
    repositorySize: size('the repository is larger').optional(),
    sizeChange: text().describe('a backup differs this much from the last, such as 50%').optional(),
    diskFree: text().describe('less free space, such as 10% or 20GB').optional(),
    logSize: size('the logs are larger').optional(),
    duration: duration('a backup takes longer').optional(),
  }).describe('when status warns'),
)

export const files = later(
  'files',
  z
    .record(
      text(),
      strict({
        paths: words().describe('files, directories and patterns').optional(),
        exclude: words().describe('left out').optional(),
        dockerVolume: text().describe('a Docker volume').optional(),
      }),
    )
    .describe('sets of files kept beside the database'),
)

export const contacts = later(
  'runbooks',
  z
    .array(z.union([text(), strict({ name: text(), role: text().optional(), email: text().optional(), phone: text().optional() })]))
    .describe('people named in runbooks and failure mails'),
)

export const logs = later(
  'logs',
  strict({
    dir: text().describe('directory').optional(),
    maxSize: size('rotate at this size').optional(),
    keep: count('rotated files kept').optional(),
  }).describe('log files of the daemon'),
)

const occasion = z.enum(['success', 'failure', 'recovered', 'drill', 'drillFailure', 'storage', 'monthly', 'health', 'weekly'])
const occasions = z.union([occasion, z.array(occasion).min(1)]).describe('occasions')

const email = strict({
  to: z.union([text(), words()]).describe('recipients'),
  from: text().describe('sender').optional(),
  on: occasions.optional(),
  smtp: strict({
    host: text().describe('mail server').optional(),
    port: z.int().min(1).max(65_535).describe('587 STARTTLS, 465 TLS').optional(),
    user: text().describe('account').optional(),
    password: secret().describe('password, by reference').optional(),
  })
    .describe('how mail is sent')
    .optional(),
})

const webhook = strict({
  url: text().describe('address; by reference when it holds a token'),
  format: z.enum(['slack', 'generic']).describe('what is sent').optional(),
  on: occasions.optional(),
  headers: z.record(text(), text()).describe('extra headers').optional(),
})

const channel = strict({ email: email.describe('mail').optional(), webhook: webhook.describe('HTTP POST').optional() }).refine(
  (one) => (one.email === undefined) !== (one.webhook === undefined),
  {
    message: 'expected exactly one of email and webhook in each item',
  },
)

export const notify = later('notify', z.array(channel).describe('who is told what'))

/** Checks that run a program or ask a URL against the restored copy. */
export const laterCheck = later(
  'checks',
  z.union([
    strict({ command: command().describe('program that gets the copy’s DATABASE_URL; must exit 0') }),
    strict({ url: text().describe('address that must answer 2xx') }),
  ]),
)
