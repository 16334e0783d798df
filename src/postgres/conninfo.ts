import { Failure } from '../kernel/failure.ts'

/**
 * libpq's keyword form: `host=localhost dbname='my db' password='it\'s'` (fe-connect.c, conninfo_parse).
 * Fails with `connection-invalid`; never repeats a value.
 */
export function parseConninfo(text: string): Record<string, string> {
  const parameters: Record<string, string> = {}
  const pair = /\s*([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*)?)(?=\s|$)/suy
  while (pair.lastIndex < text.trimEnd().length) {
    const found = pair.exec(text)
    if (found === null) {
      throw new Failure('connection-invalid', 'the connection string cannot be understood: expected pairs like host=localhost dbname=app', {
        hints: ["put values with spaces in single quotes, and write ' as \\' and \\ as \\\\"],
      })
    }
    const [, name = '', quoted, bare] = found
    parameters[name] = (quoted ?? bare ?? '').replace(/\\(.)/gsu, '$1')
  }
  return parameters
}
