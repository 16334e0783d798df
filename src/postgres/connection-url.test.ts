import fc from 'fast-check'
import { mkdtemp, rm, writeFile, chmod } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Failure } from '../kernel/failure.ts'
import { Secret } from '../kernel/secret.ts'
import { parseServices, passFileLine, readPassFile } from './connection-files.ts'
import { defaultTarget, formatConnectionUrl, parseConnectionUrl } from './connection-url.ts'

function parts(url: string) {
  const { host, port, user, database, password, tls, parameters } = parseConnectionUrl(url, { user: 'me' })
  return { host, port, user, database, password: password?.reveal() ?? null, mode: tls.mode, parameters }
}

function failureOf(work: () => unknown): Failure {
  try {
    work()
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
  throw new Error('it succeeded')
}

const plain = { host: 'db.example.com', port: 5432, user: 'u', database: 'app', password: 'p', mode: 'prefer', parameters: {} }

describe('a parameter of the URL', () => {
  it.each([
    ['postgresql://u:p@h/app?sslmod=require', 'sslmod', 'sslmode'],
    ['postgresql://u:p@h/app?sslMode=verify-full', 'sslMode', 'sslmode'],
    ['postgresql://u:p@h/app?ssl-mode=require', 'ssl-mode', 'sslmode'],
    ['host=h dbname=app sslmod=require', 'sslmod', 'sslmode'],
    ['postgresql://u:p@h/app?connection_limits=1', 'connection_limits', 'connection_limit'],
  ])('%s is a typo that must not pass for TLS, or for anything', (url, named, meant) => {
    const failure = failureOf(() => parseConnectionUrl(url))
    expect(failure).toMatchObject({ code: 'connection-invalid', message: expect.stringContaining(`"${named}"`) as string })
    expect(failure.exitCode).toBe(2)
    expect(failure.hints.join('\n')).toContain(`did you mean ${meant}?`)
  })

  it('is refused when it resembles nothing, and not repeated where it may be a piece of a password', () => {
    expect(failureOf(() => parseConnectionUrl('postgresql://u:p@h/app?frobnicate=1')).message).toContain('"frobnicate"')
    for (const text of ['host=h password=correct horsebattery=staple dbname=app', 'postgresql://h/app?user=u&password=correct&horsebattery=staple']) {
      const { message, hints } = failureOf(() => parseConnectionUrl(text))
      expect(`${message} ${hints.join(' ')}`).not.toMatch(/horsebattery|staple/)
    }
  })

  it.each([
    'schema=public',
    'pgbouncer=true&connection_limit=1&pool_timeout=0',
    'sslaccept=strict',
    'statement_cache_size=0',
    'pool_max_conns=4',
    'myapp.tenant=7',
  ])('%s of another driver keeps its URL usable', (query) => {
    const { parameters } = parts(`postgresql://u:p@db.example.com:5432/app?sslmode=require&${query}`)
    expect(parameters).toEqual(Object.fromEntries(new URLSearchParams(query)))
  })
})

describe('the forms that libpq reads', () => {
  it.each([
    ['postgresql://u:p@db.example.com:5432/app', {}],
    ['postgres://u:p@db.example.com/app', {}],
    ['postgresql+psycopg2://u:p@db.example.com/app', {}],
    ['  postgresql://u:p@db.example.com/app\n', {}],
    ['postgresql://u@db.example.com/app', { password: null }],
    ['postgresql://u:p@db.example.com', { database: 'u' }],
    ['postgresql://db.example.com/app', { user: 'me', password: null }],
    ['postgresql:///app', { host: null, user: 'me', password: null }],
    ['postgresql://', { host: null, user: 'me', database: 'me', password: null }],
    ['postgresql://u:p@[2001:db8::1]:6000/app', { host: '2001:db8::1', port: 6000 }],
    ['postgresql://u:p@%2Frun%2Fpostgresql/app', { host: '/run/postgresql' }],
    ['postgresql:///app?host=/run/postgresql&port=5433&user=u', { host: '/run/postgresql', port: 5433, password: null }],
    [
      'postgresql://u:p@db.example.com/app?sslmode=verify-full&options=-c%20search_path%3Da',
      { mode: 'verify-full', parameters: { options: '-c search_path=a' } },
    ],
    ['postgresql://u:p@db.example.com/app?ssl=true&schema=public', { mode: 'require', parameters: { schema: 'public' } }],
    ['postgresql://u:p@db.example.com/app?sslmode=require&sslrootcert=/ca.pem', { mode: 'verify-ca' }],
    ['postgresql://u:p@db.example.com/app?sslrootcert=system', { mode: 'verify-full' }],
    ['postgresql://u:p@db.example.com/app?application_name=a@b', { parameters: { application_name: 'a@b' } }],
    ['postgresql://u:p@db.example.com/n%C3%A4me%20%22x', { database: 'näme "x' }],
    ["host=db.example.com user=u password='p' dbname=app", {}],
    ["host=db.example.com user=u password='it\\'s \\\\ here' dbname = 'my app'", { password: "it's \\ here", database: 'my app' }],
  ])('%s', (url, difference) => expect(parts(url)).toEqual({ ...plain, ...difference }))
})

describe('a password that was not encoded', () => {
  it.each([
    'p@ss',
    'p@ss@word',
    'p:a:ss',
    'pa/ss',
    'pa?ss',
    'pa#ss',
    '100%',
    '%%',
    'a%zz',
    '\\ \'"',
    'with space',
    'пароль🔑',
    '[x]',
    'a=b&c',
    'a,b/c',
    '12/x',
    'a@evil/b',
    '#?/@:%',
  ])('%s is taken as it is', (password) => {
    expect(parts(`postgresql://u:${password}@db.example.com/app`)).toEqual({ ...plain, password })
  })

  it.each(['12/xyz', '%41%', '%ff', 'a@evil/b', '1?a=b'])('%s is refused with the fix where another reading exists, and never repeated', (password) => {
    const failure = failureOf(() => parts(`postgresql://u:${password}@db.example.com`))
    expect(failure.code).toBe('connection-invalid')
    expect(failure.hints.join()).toContain('%25')
    expect(failure.message + failure.hints.join()).not.toContain(password)
  })

  it('is never misread: it arrives unchanged or is refused, and encoded it always arrives', () => {
    fc.assert(
      fc.property(
        fc.string({
          unit: fc.oneof(fc.constantFrom(...Array.from('@:/?#%&=,[]\\ \'"12a')), fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 })),
          minLength: 1,
        }),
        (password) => {
          fc.pre(!password.includes('\0') && !/%[0-9a-fA-F]{2}/.test(password) && password.isWellFormed())
          expect(parts(`postgresql://u:${encodeURIComponent(password)}@db.example.com/app`)).toEqual({ ...plain, password })
          try {
            expect(parts(`postgresql://u:${password}@db.example.com/app`)).toEqual({ ...plain, password })
          } catch (error) {
            expect(error).toMatchObject({ code: 'connection-invalid' })
          }
        },
      ),
      { numRuns: 2_000 },
    )
  })
})

describe('what cannot be used', () => {
  it.each([
    ['', 'is empty'],
    ['mysql://u:p@h/d', 'mysql'],
    ['localhost/app', 'does not begin'],
    ['postgresql://u:p@a,b/app', 'several hosts'],
    ['host=a,b dbname=app', 'several hosts'],
    ['postgresql://u:p@h:54x2/app', 'port in the connection URL is not a number'],
    ['postgresql://u:p@h:99999/app', '1 to 65535'],
    ['postgresql://u:p@h/app?sslmode=always', 'sslmode'],
    ['postgresql://u:p@h/app?sslpassword=hush', 'sslpassword'],
    ['postgresql://h/app?service=x', 'service "x"'],
    ['postgresql://u:p%00@h/app', '%00'],
    ["host='open", 'cannot be understood'],
  ])('%s', (url, message) => {
    const failure = failureOf(() => parseConnectionUrl(url))
    expect([failure.code, failure.message]).toEqual(['connection-invalid', expect.stringContaining(message)])
    expect(failure.hints.join()).not.toContain('hush')
  })
})

it('is shown with *** and parses back to the same place', () => {
  const target = parseConnectionUrl(
    'postgresql://u%40x:s3cret@[::1]:6000/my%2Fdb?sslmode=verify-full&sslrootcert=/a b.pem&target_session_attrs=any&my.apitoken=t0ken',
  )
  const shown = formatConnectionUrl(target)
  expect(shown).toBe('postgresql://u%40x:***@[::1]:6000/my%2Fdb?sslmode=verify-full&sslrootcert=%2Fa%20b.pem&target_session_attrs=any&my.apitoken=***')
  expect({ ...parseConnectionUrl(shown), password: null, parameters: {} }).toEqual({ ...target, password: null, parameters: {} })
  expect(formatConnectionUrl(parseConnectionUrl('postgresql:///app?user=u'))).toBe('postgresql://u@:5432/app')
})

it('has defaults as psql has them', () => {
  expect(defaultTarget('me')).toMatchObject({ host: null, user: 'me', database: 'me', port: 5432 })
})

it('takes a service, over which the parts given beside it win', () => {
  const services = parseServices('# mine\n[prod]\nhost=h\nuser=u\ndbname=app\npassword=a=b # c\n\n[prod]\nhost=second\n', 'f')
  const target = parseConnectionUrl('service=prod dbname=other', { services })
  expect([target.host, target.user, target.database, target.password?.reveal()]).toEqual(['h', 'u', 'other', 'a=b # c'])
  expect(failureOf(() => parseServices('[a]\nnonsense\n', '/etc/pg_service.conf')).message).toContain('/etc/pg_service.conf:2')
})

it('finds the password in a PGPASSFILE like libpq, and refuses a file that others can read', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-pass-'))
  const path = join(directory, 'pgpass')
  const target = { host: 'h', port: 5432, database: 'a:b', user: 'u' }
  await writeFile(path, `# h:5432:*:u:no\nother:*:*:*:no\nh:5432:a\\:b:u:x\\:y\\\\z\n*:*:*:*:last\n`, { mode: 0o600 })
  expect((await readPassFile(path, target))?.reveal()).toBe('x:y\\z')
  expect((await readPassFile(path, { ...target, host: null }))?.reveal()).toBe('last')
  expect(await readPassFile(join(directory, 'none'), target)).toBeNull()
  await writeFile(path, passFileLine(new Secret('a:b\\c #')))
  expect((await readPassFile(path, target))?.reveal()).toBe('a:b\\c #')
  await chmod(path, 0o640)
  await expect(readPassFile(path, target)).rejects.toMatchObject({ code: 'connection-invalid', hints: [`chmod 600 ${path}`] })
  expect(() => passFileLine(new Secret('a\nb'))).toThrow('line break')
  await rm(directory, { recursive: true })
})
