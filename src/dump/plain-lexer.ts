import { createCapture } from './byte-capture.ts'
import { createCopyLines } from './copy-lines.ts'
import { malformed } from './faults.ts'
import { createStatementWords } from './statement-words.ts'

/** Where something stands: the offset of its first byte, and of the one after its last. */
export interface ByteSpan {
  readonly from: number
  readonly to: number
}

/** What a plain dump consists of, told as it flows. */
export interface PlainEvents {
  /**
   * A statement up to and with its semicolon. `text` is without comments and cut at 1 MiB (`isWhole` false). Returning true means that the server
   * will ask for COPY data, which then follows on the next line.
   */
  statement(text: Buffer, isWhole: boolean, span: ByteSpan): boolean
  /** A `--` comment up to its line end, cut at 4 KiB. */
  comment(text: Buffer): void
  /** A psql command: the rest of the line from the backslash on, cut at 4 KiB. `isInside` when a statement before it has not ended. */
  metaCommand(text: Buffer, span: ByteSpan, isInside: boolean): void
  /** Lines of COPY data, without the end marker; in pieces of any size. */
  copyBytes(piece: Buffer): void
  copyEnd(): void
}

export interface PlainLexer {
  write(chunk: Uint8Array): void
  /** Bytes taken so far. */
  offset(): number
  /** What the dump ended inside of, or null when it ended between two statements. */
  end(): string | null
  /** `SET standard_conforming_strings`: whether backslashes are plain characters in '' strings. */
  setStandardStrings(on: boolean): void
}

const statementLimitBytes = 1024 * 1024
const lineLimitBytes = 4096

const normal = 0
const lineComment = 1
const blockComment = 2
const quoted = 3
const escapedString = 4
const quotedName = 5
const dollarTag = 6
const dollarBody = 7
const metaCommand = 8
const copyWait = 9
const copyRows = 10
const names = [
  'a statement',
  'a comment',
  'a comment',
  'a string',
  'a string',
  'a quoted name',
  'a string',
  'a function body or string',
  'a psql command',
  'a COPY statement',
  'the rows of a table',
]

const lf = 10
const quote = 39
const doubleQuote = 34
const backslash = 92
const dollar = 36
const semicolon = 59
const openParenthesis = 40
const closeParenthesis = 41
const minus = 45
const slash = 47
const star = 42

/**
 * Reads plain SQL the way psql does (psqlscan.l): strings, E'' strings, quoted names, dollar quotes, nested comments, parentheses and
 * SQL-standard function bodies are understood, so that nothing inside them is mistaken for a statement, a psql command or an
 * end marker. Bytes above 127 are letters, which is right for every encoding a server can have.
 */
export function createPlainLexer(events: PlainEvents): PlainLexer {
  let state = normal
  let offset = 0
  let carry: Buffer | null = null
  let standardStrings = true

  // The statement being read.
  const statement = createCapture(statementLimitBytes)
  let inStatement = false
  /** Where the statement, or the psql command, begins. */
  let statementFrom = 0
  let commandFrom = 0
  const words = createStatementWords()
  let word = ''

  const line = createCapture(lineLimitBytes)
  let commentDepth = 0
  let delimiter = ''
  let delimiterMatched = 0
  const copyLines = createCopyLines(events.copyBytes)

  const endWord = () => {
    words.add(word)
    word = ''
  }

  const endStatement = (to: number) => {
    const wantsRows = events.statement(statement.bytes(), statement.isWhole(), { from: statementFrom, to })
    statement.clear()
    inStatement = false
    words.clear()
    state = wantsRows ? copyWait : normal
  }

  /** Between statements and in the plain parts of one. Returns where it stopped. */
  const readNormal = (input: Buffer, from: number): number => {
    let at = from
    let captured = from
    const begin = () => {
      ;[inStatement, captured, statementFrom] = [true, at, offset + at]
    }
    const capture = (to: number) => {
      if (inStatement) statement.append(input, captured, to)
      captured = to
    }
    for (; at < input.length; at++) {
      const byte = input[at] as number
      if (isWordByte(byte, word.length > 0)) {
        if (!inStatement) begin()
        if (word.length < 32) word += String.fromCharCode(byte).toLowerCase()
        continue
      }
      const isEscapePrefix = byte === quote && (word === 'e' || !standardStrings)
      if (word.length > 0) endWord()
      if (byte === minus || byte === slash) {
        if (at + 1 === input.length) {
          capture(at)
          carry = Buffer.from([byte])
          return input.length
        }
        const next = input[at + 1]
        if (byte === minus && next === minus) {
          capture(at)
          state = lineComment
          return at
        }
        if (byte === slash && next === star) {
          capture(at)
          state = blockComment
          commentDepth = 0
          return at
        }
      }
      if (byte === backslash) {
        capture(at)
        state = metaCommand
        commandFrom = offset + at
        return at
      }
      if (!inStatement) {
        if (byte <= 32) continue
        begin()
      }
      if (byte === openParenthesis) words.parenthesis(1)
      else if (byte === closeParenthesis) words.parenthesis(-1)
      else if (byte === semicolon && words.isComplete()) {
        capture(at + 1)
        endStatement(offset + at + 1)
        return at + 1
      } else if (byte === quote || byte === doubleQuote || byte === dollar) {
        capture(at + 1)
        state = byte === doubleQuote ? quotedName : byte === dollar ? dollarTag : isEscapePrefix ? escapedString : quoted
        delimiter = '$'
        return at + 1
      }
    }
    capture(at)
    return at
  }

  /** Up to the next `byte`, which ends the state; doubled ones end and begin it again, which comes to the same. */
  const readUntil = (input: Buffer, from: number, byte: number): number => {
    const found = input.indexOf(byte, from)
    const to = found < 0 ? input.length : found + 1
    statement.append(input, from, to)
    if (found >= 0) state = normal
    return to
  }

  const readEscapedString = (input: Buffer, from: number): number => {
    for (let at = from; at < input.length; at++) {
      const byte = input[at]
      if (byte !== quote && byte !== backslash) continue
      const isLast = at + 1 === input.length
      if (isLast || byte === backslash || input[at + 1] === quote) {
        if (isLast) {
          statement.append(input, from, at)
          carry = Buffer.from([byte])
          return input.length
        }
        at++
        continue
      }
      statement.append(input, from, at + 1)
      state = normal
      return at + 1
    }
    statement.append(input, from, input.length)
    return input.length
  }

  const readDollarTag = (input: Buffer, from: number): number => {
    let at = from
    for (; at < input.length; at++) {
      const byte = input[at] as number
      if (byte === dollar) {
        delimiter += '$'
        delimiterMatched = 0
        state = dollarBody
        statement.append(input, from, at + 1)
        return at + 1
      }
      if (!isWordByte(byte, delimiter.length > 1)) {
        // A parameter ($1) or a lone sign.
        state = normal
        break
      }
      delimiter += String.fromCharCode(byte)
      if (delimiter.length > lineLimitBytes) throw malformed('a dollar quote has an endless name', offset + at)
    }
    statement.append(input, from, at)
    return at
  }

  const readDollarBody = (input: Buffer, from: number): number => {
    let at = from
    while (at < input.length) {
      if (delimiterMatched === 0) {
        const found = input.indexOf(dollar, at)
        if (found < 0) break
        at = found + 1
        delimiterMatched = 1
        continue
      }
      const byte = input[at++] as number
      // A $ can only stand at both ends of the delimiter, so after a mismatch the match begins anew or not at all.
      delimiterMatched = byte === delimiter.charCodeAt(delimiterMatched) ? delimiterMatched + 1 : byte === dollar ? 1 : 0
      if (delimiterMatched === delimiter.length) {
        state = normal
        statement.append(input, from, at)
        return at
      }
    }
    statement.append(input, from, input.length)
    return input.length
  }

  const readLine = (input: Buffer, from: number): number => {
    const found = input.indexOf(lf, from)
    line.append(input, from, found < 0 ? input.length : found)
    if (found < 0) return input.length
    endLine(offset + found)
    return found + 1
  }

  const endLine = (to: number) => {
    const text = line.bytes()
    if (state === lineComment) events.comment(text)
    else events.metaCommand(text, { from: commandFrom, to }, inStatement)
    line.clear()
    state = normal
    if (inStatement) statement.append(newline, 0, 1)
  }

  const readBlockComment = (input: Buffer, from: number): number => {
    for (let at = from; at < input.length; at++) {
      const byte = input[at]
      if (byte !== slash && byte !== star) continue
      if (at + 1 === input.length) {
        carry = Buffer.from([byte])
        return input.length
      }
      const next = input[at + 1]
      if (byte === slash && next === star) commentDepth += 1
      else if (byte === star && next === slash) commentDepth -= 1
      else continue
      at++
      if (commentDepth === 0) {
        state = normal
        if (inStatement) statement.append(space, 0, 1)
        return at + 1
      }
    }
    return input.length
  }

  const readCopyWait = (input: Buffer, from: number): number => {
    const byte = input[from] as number
    if (byte === lf) {
      state = copyRows
      copyLines.begin()
    } else if (byte > 32) throw malformed('something follows a COPY statement on its line', offset + from)
    return from + 1
  }

  const readCopyRows = (input: Buffer, from: number): number => {
    const to = copyLines.take(input, from)
    if (to < 0) return input.length
    events.copyEnd()
    state = normal
    return to
  }

  const step = (input: Buffer, at: number): number => {
    switch (state) {
      case normal:
        return readNormal(input, at)
      case quoted:
        return readUntil(input, at, quote)
      case quotedName:
        return readUntil(input, at, doubleQuote)
      case escapedString:
        return readEscapedString(input, at)
      case dollarTag:
        return readDollarTag(input, at)
      case dollarBody:
        return readDollarBody(input, at)
      case blockComment:
        return readBlockComment(input, at)
      case copyWait:
        return readCopyWait(input, at)
      case copyRows:
        return readCopyRows(input, at)
      default:
        return readLine(input, at)
    }
  }

  return {
    write: (chunk) => {
      const plain = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      if (plain.length === 0) return
      const held = carry
      const input = held === null ? plain : Buffer.concat([held, plain])
      if (held !== null) offset -= held.length
      carry = null
      for (let at = 0; at < input.length;) at = step(input, at)
      offset += input.length
    },
    offset: () => offset,
    end: () => {
      if ((state === lineComment || state === metaCommand) && carry === null) endLine(offset)
      return state === normal && !inStatement && word === '' && carry === null ? null : (names[state] ?? 'a statement')
    },
    setStandardStrings: (on) => {
      standardStrings = on
    },
  }
}

const newline = Buffer.from('\n')
const space = Buffer.from(' ')

function isWordByte(byte: number, isInside: boolean): boolean {
  if ((byte >= 97 && byte <= 122) || (byte >= 65 && byte <= 90) || byte === 95 || byte >= 128) return true
  return isInside && ((byte >= 48 && byte <= 57) || byte === dollar)
}
