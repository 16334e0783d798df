import { readFile, stat } from 'node:fs/promises'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { Secret } from '../kernel/secret.ts'
import type { Services } from './connection-parameters.ts'
import type { ConnectionTarget } from './target.ts'

/** Reads pg_service.conf (libpq: "The Connection Service File"). A missing file has no services. */
export async function readServiceFile(path: string): Promise<Services> {
  return parseServices(await readIfPresent(path, 'service file'), path)
}

/** The text of a pg_service.conf: `[name]` sections of `parameter=value`, `#` comments. The first section of a name counts. */
export function parseServices(text: string, path: string): Services {
  const services = new Map<string, Record<string, string>>()
  let current: Record<string, string> | null = null
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const section = /^\[(.*)\]$/.exec(line)
    if (section !== null) {
      current = {}
      const name = section[1] ?? ''
      if (!services.has(name)) services.set(name, current)
      continue
    }
    const equals = line.indexOf('=')
    if (equals < 1 || current === null) {
      throw new Failure('connection-invalid', `${path}:${index + 1}: expected [name] or parameter=value`, {
        hints: ['see "The Connection Service File" in the PostgreSQL documentation'],
      })
    }
    current[line.slice(0, equals).trim()] = line.slice(equals + 1).trim()
  }
  return services
}

/**
 * The password for a target from a PGPASSFILE (`host:port:database:user:password`, `*` matches all, `\:` and `\\` escape), or null.
 * Like libpq we do not use a file that others may read, but say so instead of ignoring it.
 */
export async function readPassFile(path: string, target: Pick<ConnectionTarget, 'host' | 'port' | 'database' | 'user'>): Promise<Secret | null> {
  const text = await readIfPresent(path, 'password file')
  if (text === '') return null
  const { mode } = await stat(path)
  if ((mode & 0o077) !== 0) {
    throw new Failure('connection-invalid', `the password file ${path} can be read by other accounts, so it is not used`, { hints: [`chmod 600 ${path}`] })
  }
  // libpq looks up every socket directory, default or not, as "localhost".
  const host = target.host === null || target.host.startsWith('/') ? ['localhost', target.host ?? 'localhost'] : [target.host]
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue
    const fields = splitFields(line)
    if (fields.length < 5) continue
    const [lineHost = '', port = '', database = '', user = ''] = fields
    const matches = (field: string, ...values: string[]) => field === '*' || values.includes(field)
    if (matches(lineHost, ...host) && matches(port, String(target.port)) && matches(database, target.database) && matches(user, target.user))
      return new Secret(fields[4] ?? '')
  }
  return null
}

/** The line of a PGPASSFILE that gives this password to whatever is connected to. A line break in it cannot be written down. */
export function passFileLine(password: Secret): string {
  const text = password.reveal()
  if (/[\r\n]/.test(text)) {
    throw new Failure('connection-invalid', 'the password holds a line break, which PostgreSQL client programs cannot be given in a password file', {
      hints: ['give the role a password without line breaks: ALTER ROLE … PASSWORD …'],
    })
  }
  return `*:*:*:*:${text.replaceAll('\\', '\\\\').replaceAll(':', '\\:')}\n`
}

function splitFields(line: string): readonly string[] {
  const fields: string[] = ['']
  for (let index = 0; index < line.length; index += 1) {
    const character = line[index] ?? ''
    if (character === '\\' && index + 1 < line.length) {
      index += 1
      fields[fields.length - 1] += line[index] ?? ''
    } else if (character === ':' && fields.length < 5) fields.push('')
    else fields[fields.length - 1] += character
  }
  return fields
}

async function readIfPresent(path: string, what: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCodeOf(error) === 'ENOENT') return ''
    throw new Failure('connection-invalid', `cannot read the ${what} ${path}: ${messageOf(error)}`, { cause: error })
  })
}
