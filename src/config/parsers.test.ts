import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Failure } from '../kernel/failure.ts'
import { formatCompression, parseCompression } from './compression.ts'
import { parseScheduleExpression } from './cron.ts'
import { parsePath } from './file-paths.ts'
import { namePresets, parseNameTemplate, renderName, safeFileName } from './name-template.ts'
import { closest } from '../kernel/suggest.ts'
import { parseBandwidth, parseDuration, parsePeriod, parseSize } from './units.ts'
import { parsePrefix } from './variable-rules.ts'

const refuses = (parse: () => unknown) => expect(parse).toThrow(Failure)

describe('compression', () => {
  it.each([
    ['gzip:9', { method: 'gzip', level: 9 }],
    ['zstd:19', { method: 'zstd', level: 19 }],
    ['zstd', { method: 'zstd', level: 3 }],
    ['GZIP', { method: 'gzip', level: 6 }],
    ['none', { method: 'none' }],
  ])('reads %s', (text, expected) => {
    expect(parseCompression(text)).toEqual(expected)
    expect(parseCompression(formatCompression(parseCompression(text)))).toEqual(expected)
  })
  it.each(['gzip:0', 'gzip:10', 'zstd:0', 'zstd:20', 'none:1', 'lz4', '', '9', 'gzip:', 'gzip:-1', 'gzip:9 '.repeat(2)])('refuses %j', (text) =>
    refuses(() => parseCompression(text)),
  )
})

describe('sizes and lengths of time', () => {
  it.each([
    ['10GB', 10 * 2 ** 30],
    ['512kB', 512 * 1024],
    ['1.5 GiB', 1.5 * 2 ** 30],
    ['1048576', 1048576],
    ['0', 0],
  ])('size %s', (text, bytes) => expect(parseSize(text)).toBe(bytes))
  it.each(['', '10 parsecs', '-1GB', '1e3', '99999999999TB', 'GB'])('refuses the size %j', (text) => refuses(() => parseSize(text)))
  it('a limit of nothing per second is refused: it would never end', () => {
    expect(parseBandwidth('10MB/s')).toBe(10 * 2 ** 20)
    refuses(() => parseBandwidth('0'))
  })
  it.each([
    ['5m', 300],
    ['36h', 129_600],
    ['7d', 604_800],
    ['12w', 7_257_600],
    ['1h 30m', 5400],
    ['90s', 90],
  ])('duration %s', (text, seconds) => expect(parseDuration(text)).toBe(seconds))
  it.each(['', '5', '5y', 'm5', '5m foo', '-5m'])('refuses the duration %j', (text) => refuses(() => parseDuration(text)))
  it('m means months in retention and minutes elsewhere: 12 minutes of backups would be a catastrophe', () => {
    expect(parsePeriod('12m')).toEqual({ count: 12, unit: 'months' })
    expect(parseDuration('12m')).toBe(720)
  })
  it.each(['7', '7 days ago', '7s', '', '1.5d'])('refuses the period %j', (text) => refuses(() => parsePeriod(text)))
})

describe('schedules', () => {
  it.each(['0 2 * * *', '*/15 0-6,22-23 1 jan-mar sun', '@daily', 'first monday 09:00', '0 3 * * 7', '0 9 1-7 * 1'])('accepts %s', (text) =>
    expect(parseScheduleExpression(text)).toBe(text),
  )
  it.each([
    '',
    '* * * *',
    '60 * * * *',
    '* 24 * * *',
    '* * 0 * *',
    '* * * 13 *',
    '* * * * 8',
    '5-1 * * * *',
    '*/0 * * * *',
    'first funday 09:00',
    'first monday 25:00',
    '* * * foo *',
  ])('refuses %j', (text) => refuses(() => parseScheduleExpression(text)))
})

describe('paths', () => {
  const base = { home: '/home/ada', directory: '/work' }
  it.each([
    ['~/b', '/home/ada/b'],
    ['~', '/home/ada'],
    ['$HOME/b', '/home/ada/b'],
    ['${HOME}/b', '/home/ada/b'],
    ['./b/../c', '/work/c'],
    ['/a//b/', '/a/b'],
    ['a b', '/work/a b'],
    ['$HOMER', null],
    ['~bob/x', null],
    ['$BASE/x', null],
    ['a/${BASE}', null],
    ['', null],
    ['a\nb', null],
    ['a\0b', null],
  ])('%j', (text, expected) => {
    if (expected === null) refuses(() => parsePath(text, base))
    else expect(parsePath(text, base)).toBe(expected)
  })
  it('says so when there is no home directory', () => refuses(() => parsePath('~/b', { home: null, directory: '/' })))
  it.each(['a/../b', './a', 'a//b', 'a\nb'])('refuses the prefix %j', (text) => refuses(() => parsePrefix(text)))
  it('strips slashes around a prefix', () => expect(parsePrefix('/db/backups/')).toBe('db/backups'))
})

describe('file names', () => {
  const time = Temporal.ZonedDateTime.from('2026-01-20T14:30:05-08:00[America/Los_Angeles]')
  const name = (template: string, database: string) => renderName(parseNameTemplate(template), { database, cluster: 'main', id: '20260120-1430-7f3k', time })

  it("gives the seeds' names", () => {
    expect(name('default', 'nexo')).toBe('nexo_20260120_143005')
    expect(name('s1', 'pivotal_flow')).toBe('pivotal_flow_backup_20260120_143005')
    expect(name('s3', 'eleganttex')).toBe('eleganttex_backup_20260120_143005')
    expect(name('s4', 'x')).toBe('postgres-dump-20260120-143005')
    expect(name('<cluster>-<db>-<id>', 'x')).toBe('main-x-20260120-1430-7f3k')
    for (const preset of Object.values(namePresets)) expect(parseNameTemplate(preset)).toBe(preset)
  })

  it.each(['<db>', '<db>_<YYYYMMDD>', '../<id>', 'a/<id>', '-<id>', '.<id>', '<id>\n', '<foo>_<id>', '<id>$(x)', '', '<', `${'x'.repeat(120)}<id>`])(
    'refuses the template %j',
    (template) => refuses(() => parseNameTemplate(template)),
  )

  it('no database name can leave the directory, hide the file or be taken for an option', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('..', '.', '', '-rf', '--file=/x', 'a/b', 'a\nb', 'été', '😀', '__proto__', 'a'.repeat(63))),
        (database) => {
          const file = name('default', database)
          expect(file).toMatch(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/)
          expect(Buffer.byteLength(`${file}.dump.zst`)).toBeLessThan(200)
        },
      ),
      { numRuns: 1000 },
    )
  })

  it('two different databases never get the same name', () => {
    const names = ['a/b', 'a_b', 'a b', 'été', 'ete', 'été'.normalize('NFD'), '-a', '_a', '.a', 'a', '', '_']
    expect(new Set(names.map(safeFileName)).size).toBe(names.length)
    // A name crafted to look like the transliteration of another is changed too.
    const changed = safeFileName('a/b')
    expect(safeFileName(changed)).not.toBe(changed)
    expect(safeFileName('nexo')).toBe('nexo')
  })
})

it('suggests the key that was probably meant, and none when nothing is near', () => {
  expect(closest('comprss', ['compress', 'format'])).toBe('compress')
  expect(closest('keep_last', ['keepLast', 'daily'])).toBe('keepLast')
  expect(closest('zebra', ['compress', 'format'])).toBeUndefined()
})
