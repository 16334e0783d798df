import { Failure } from '../kernel/failure.ts'

/**
 * `.env` files, read and never run. The rules (docs/reference/environment.md):
 *
 * - One `NAME=value` per line; `export ` before it, blanks around `=`, CRLF and a byte order mark are fine. `#` begins a comment
 *   at the start of a line and after white space.
 * - Unquoted values reach to the end of the line, blanks inside kept: `MAIL_FROM=Elegant Tex <a@b.c>`. Backslashes and quotes inside
 *   are literal. `~` at the start, `$HOME` and `${NAME}` are replaced.
 * - 'Single quotes': nothing is replaced. "Double quotes": `\n \r \t \" \\ \$` and `` \` `` mean what they mean elsewhere, `$HOME` and `${NAME}`
 *   are replaced. Both may reach over several lines. What follows a closing quote without a blank is joined: `"$HOME"/backups`.
 * - `${NAME}` is the process environment's value, else one from earlier in the file, else an error; `${NAME:-text}` has a fallback.
 *   A bare `$name` other than `$HOME` stays as it is (passwords hold such things).
 * - `$(…)` and `` `…` `` would run a program in a shell. Here they are an error, except in single quotes.
 *
 * Every error is a Failure `config-invalid` with file and line, and never shows a value.
 */
export interface DotenvEntry {
  readonly name: string
  readonly value: string
  /** 1-based line on which the name stands. */
  readonly line: number
}

export interface DotenvContext {
  /** How messages name the file. */
  readonly file: string
  /** The process environment, for `${NAME}` and `$HOME`. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly home: string | null
}

/** The entries in the order of the file; of a name that stands twice the last one counts, and both are returned. */
export function parseDotenv(text: string, context: DotenvContext): DotenvEntry[] {
  const reader = new Reader(text.replace(/^\uFEFF/, '').replaceAll('\r\n', '\n'), context)
  while (!reader.atEnd) reader.readLine()
  return reader.entries
}

/** Decodes and parses; bytes that are not UTF-8 are an error, not question marks in a password. */
export function parseDotenvBytes(bytes: Uint8Array, context: DotenvContext): DotenvEntry[] {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new Failure('config-invalid', `cannot read ${context.file}: it is not UTF-8 text`, { cause: error })
  }
  return parseDotenv(text, context)
}

class Reader {
  readonly entries: DotenvEntry[] = []
  readonly #text: string
  readonly #context: DotenvContext
  readonly #earlier = new Map<string, string>()
  #at = 0
  #line = 1
  #name = ''
  #nameLine = 1

  constructor(text: string, context: DotenvContext) {
    this.#text = text
    this.#context = context
  }

  get atEnd(): boolean {
    return this.#at >= this.#text.length
  }

  readLine(): void {
    this.#nameLine = this.#line
    this.#name = ''
    const end = this.#text.indexOf('\n', this.#at)
    const rest = this.#text.slice(this.#at, end === -1 ? undefined : end)
    if (/^\s*(?:#|$)/.test(rest)) return this.#nextLine()

    const assignment = /^\s*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*/.exec(rest)
    if (assignment === null) {
      // `export NAME` alone gives the shell's own variable to programs; there is nothing to take from it.
      if (/^\s*export(?:[ \t]+[A-Za-z_]\w*)+[ \t]*(?:#.*)?$/.test(rest)) return this.#nextLine()
      throw this.#error('expected NAME=value')
    }
    this.#name = assignment[1] ?? ''
    this.#at += assignment[0].length
    // Blanks after `=` were skipped, so a `#` is a comment only if there were some.
    const first = this.#text[this.#at]
    const value = first === '#' && /\s$/.test(assignment[0]) ? '' : first === "'" || first === '"' ? this.#quoted() : this.#unquoted()
    if (value.includes('\0')) throw this.#error('the value holds a NUL character')
    this.entries.push({ name: this.#name, value, line: this.#nameLine })
    this.#earlier.set(this.#name, value)
    this.#nextLine()
  }

  #nextLine(): void {
    const end = this.#text.indexOf('\n', this.#at)
    this.#at = end === -1 ? this.#text.length : end + 1
    this.#line += 1
  }

  #unquoted(): string {
    const end = this.#text.indexOf('\n', this.#at)
    const raw = this.#text.slice(this.#at, end === -1 ? undefined : end)
    const value = raw.replace(/\s#.*$/, '').trimEnd()
    return this.#replaceVariables(this.#replaceTilde(value))
  }

  /** One shell word that begins with a quote: quoted and unquoted pieces up to a blank. */
  #quoted(): string {
    let value = ''
    for (;;) {
      const here = this.#text[this.#at]
      if (here === undefined || here === '\n') return value
      if (here === "'") value += this.#singleQuoted()
      else if (here === '"') value += this.#doubleQuoted()
      else if (/\s/.test(here)) break
      else value += this.#bareword()
    }
    const end = this.#text.indexOf('\n', this.#at)
    const rest = this.#text.slice(this.#at, end === -1 ? undefined : end)
    if (!/^\s*(?:#.*)?$/.test(rest)) throw this.#error('something follows the closing quote; put the whole value into one pair of quotes')
    return value
  }

  #singleQuoted(): string {
    const end = this.#text.indexOf("'", this.#at + 1)
    if (end === -1) throw this.#error('a single quote opens the value and is never closed')
    const value = this.#text.slice(this.#at + 1, end)
    this.#pass(end + 1)
    return value
  }

  #doubleQuoted(): string {
    let end = this.#at + 1
    while (end < this.#text.length && this.#text[end] !== '"') end += this.#text[end] === '\\' ? 2 : 1
    if (end >= this.#text.length) throw this.#error('a double quote opens the value and is never closed')
    const raw = this.#text.slice(this.#at + 1, end)
    this.#pass(end + 1)
    let value = ''
    // Escapes are cut out first, so that `\$` is not taken for a variable.
    let piece = ''
    for (let i = 0; i < raw.length; i++) {
      const escaped = raw[i] === '\\' ? escapes[raw[i + 1] ?? ''] : undefined
      if (escaped === undefined) {
        piece += raw[i]
        continue
      }
      value += this.#replaceVariables(piece) + escaped
      piece = ''
      i += 1
    }
    return value + this.#replaceVariables(piece)
  }

  #bareword(): string {
    const match = /^[^\s'"]+/.exec(this.#text.slice(this.#at))
    const word = match?.[0] ?? ''
    this.#at += word.length
    return this.#replaceVariables(word)
  }

  #pass(to: number): void {
    for (let i = this.#at; i < to; i++) if (this.#text[i] === '\n') this.#line += 1
    this.#at = to
  }

  #replaceTilde(value: string): string {
    if (!/^~(?:\/|$)/.test(value)) return value
    return this.#home() + value.slice(1)
  }

  #home(): string {
    if (this.#context.home === null) throw this.#error('the value needs the home directory, but HOME is not set')
    return this.#context.home
  }

  #replaceVariables(text: string): string {
    if (/\$\(|`[^`]*`/.test(text)) {
      throw this.#error('$(…) and `…` would run a program, which is never done; put the value into single quotes if it is meant literally')
    }
    return text.replaceAll(/\$\{([^}]*)\}|\$HOME(?![A-Za-z0-9_])|\$\{/g, (whole, inner: string | undefined) => {
      if (whole === '$HOME') return this.#home()
      const match = /^([A-Za-z_][A-Za-z0-9_]*)(?:(:?)-(.*))?$/s.exec(inner ?? '')
      if (match === null) throw this.#error('${…} is not understood; possible are ${NAME} and ${NAME:-text}')
      return this.#variable(match[1] ?? '', match[3], match[2] === ':')
    })
  }

  #variable(name: string, fallback: string | undefined, fallbackWhenEmpty: boolean): string {
    const environment = Object.hasOwn(this.#context.env, name) ? this.#context.env[name] : undefined
    const known = environment ?? this.#earlier.get(name) ?? (name === 'HOME' ? (this.#context.home ?? undefined) : undefined)
    if (known !== undefined && !(fallbackWhenEmpty && known === '')) return known
    if (fallback !== undefined) return fallback
    // The name may itself be half of a password, so it is not shown.
    throw this.#error('${…} names a variable that is set neither in the environment nor earlier in the file; for a literal $ use single quotes')
  }

  #error(reason: string): Failure {
    const place = `${this.#context.file} line ${this.#nameLine}`
    return new Failure('config-invalid', this.#name === '' ? `cannot read ${place}: ${reason}` : `cannot read ${this.#name} in ${place}: ${reason}`, {
      hints: [`look at line ${this.#nameLine} of ${this.#context.file} (its value is not shown here)`],
      details: { file: this.#context.file, line: this.#nameLine, ...(this.#name === '' ? {} : { variable: this.#name }) },
    })
  }
}

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '"': '"', '\\': '\\', $: '$', '`': '`' }
