import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Failure } from '../kernel/failure.ts'
import { parseDotenv, parseDotenvBytes } from './dotenv.ts'

const context = { file: '.env', env: { BASE: '/srv', EMPTY: '' }, home: '/home/ada' }
const valueOf = (line: string) => parseDotenv(line, context).at(-1)?.value

describe('a .env file', () => {
  it.each([
    ['A=b', 'b'],
    ['export A=b', 'b'],
    ['  export   A=b', 'b'],
    ['A = b', 'b'],
    ['A=', ''],
    ['A=   ', ''],
    ['A= # nothing', ''],
    ['A=#notacomment', '#notacomment'],
    ['A=b#c', 'b#c'],
    ['A=b   # comment', 'b'],
    ['A=b\t# comment', 'b'],
    ['A="b # c"   # comment', 'b # c'],
    ["A='b # c'", 'b # c'],
    ['MAIL_FROM=Elegant Tex Backup <your-email@gmail.com>', 'Elegant Tex Backup <your-email@gmail.com>'],
    ['A=$HOME/aicitel-backups', '/home/ada/aicitel-backups'],
    ['A="$HOME/aicitel-backups"', '/home/ada/aicitel-backups'],
    ["A='$HOME/x'", '$HOME/x'],
    ['A="$HOME"/x', '/home/ada/x'],
    ['A=$HOMER/x', '$HOMER/x'],
    ['A=~/x', '/home/ada/x'],
    ['A=~', '/home/ada'],
    ['A="~/x"', '~/x'],
    ['A=x~/y', 'x~/y'],
    ['A=${BASE}/x', '/srv/x'],
    ['A="${BASE}/x"', '/srv/x'],
    ["A='${BASE}/x'", '${BASE}/x'],
    ['A=${NOPE:-/tmp}/x', '/tmp/x'],
    ['A=${EMPTY:-y}', 'y'],
    ['A=${EMPTY}', ''],
    ['A=pa$word', 'pa$word'],
    ['A=pa$$1', 'pa$$1'],
    ['A="a\\"b\\\\c\\$HOME"', 'a"b\\c$HOME'],
    ['A="a\\nb"', 'a\nb'],
    ['A="one\ntwo"', 'one\ntwo'],
    ['A=C:\\new', 'C:\\new'],
    ["A=it's", "it's"],
    ['A="b"\r\n', 'b'],
    ['A=b\r\nC=d\r\n', 'd'],
    ['\uFEFFA=b', 'b'],
    ['B=1\nA=${B}2', '12'],
    ['# only\n\n   \nA=b', 'b'],
    ['A=1\nA=2', '2'],
    ['A=$(cat', undefined],
  ])('reads %j', (line, expected) => {
    if (expected === undefined) expect(() => valueOf(line)).toThrow(Failure)
    else expect(valueOf(line)).toBe(expected)
  })

  it.each([
    ['A="never closed hunter2', 1, 'never closed'],
    ["OK=1\nA='never closed hunter2", 2, 'never closed'],
    ['OK=1\n\nhunter2 stands alone', 3, 'NAME=value'],
    ['A="x" hunter2', 1, 'follows the closing quote'],
    ['A=${hunter2}', 1, 'neither in the environment'],
    ['A=${hunter2', 1, 'not understood'],
    ['A=$(echo hunter2)', 1, 'would run a program'],
    ['A="`echo hunter2`"', 1, 'would run a program'],
    ['A="one\ntwo"\nB="hunter2" x', 3, 'follows the closing quote'],
    ['1A=hunter2', 1, 'NAME=value'],
    ['A=hunter2\0', 1, 'NUL'],
  ])('names file and line of %j and masks the value', (text, line, reason) => {
    let caught: unknown
    try {
      parseDotenv(text, context)
    } catch (error) {
      caught = error
    }
    expect(caught).toBeInstanceOf(Failure)
    const failure = caught as Failure
    expect(failure.code).toBe('config-invalid')
    expect(failure.message).toContain(`.env line ${line}`)
    expect(failure.message).toContain(reason)
    expect(failure.message + failure.hints.join() + JSON.stringify(failure.details)).not.toContain('hunter2')
  })

  it('gives the process environment precedence inside ${NAME}, as everywhere', () => {
    expect(valueOf('BASE=/file\nA=${BASE}')).toBe('/srv')
  })

  it('refuses bytes that are not UTF-8 instead of putting question marks into a password', () => {
    expect(() => parseDotenvBytes(Uint8Array.of(65, 61, 0xff), context)).toThrow('not UTF-8')
  })

  it('does not let a name reach the prototype', () => {
    expect(() => valueOf('A=${constructor}')).toThrow('neither in the environment')
    expect(parseDotenv('__proto__=x', context)[0]?.value).toBe('x')
  })

  it('never throws anything but a Failure, whatever the bytes', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.array(fc.constantFrom('A', '=', '"', "'", '\\', '$', '{', '}', '\n', '\r', '#', ' ', '`', '(', '~', 'export ')).map((parts) => parts.join('')),
        ),
        (text) => {
          try {
            parseDotenv(text, context)
          } catch (error) {
            if (!(error instanceof Failure)) throw error
          }
        },
      ),
      { numRuns: 2000 },
    )
  })
})
