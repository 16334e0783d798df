import { Failure } from '../kernel/failure.ts'
import { parseInteger, parseTimeZone, parseTruth, portBounds } from './units.ts'
import type { VariableRule } from './variables.ts'

export const tlsModes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const
export type TlsMode = (typeof tlsModes)[number]

export function parseTlsMode(text: string): TlsMode {
  const mode = tlsModes.find((known) => known === text.trim())
  if (mode === undefined) throw new Failure('config-invalid', `expected one of ${tlsModes.join(', ')}`)
  return mode
}

/** Bucket names by the rules of S3 (lower case, digits, dots, dashes, 3 to 63 characters); stores of others are as strict or laxer on `_` and case. */
export function parseBucket(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/.test(text))
    throw new Failure('config-invalid', 'expected a bucket name: 3 to 63 letters, digits, dots and dashes')
  return text
}

/** A key prefix without leading and trailing slash; '' for none. */
export function parsePrefix(text: string): string {
  const prefix = text.trim().replaceAll(/^\/+|\/+$/g, '')
  const segments = prefix === '' ? [] : prefix.split('/')
  // oxlint-disable-next-line no-control-regex
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..') || /[\u0000-\u001f\u007f]/.test(prefix)) {
    throw new Failure('config-invalid', 'expected folders separated by single slashes, none of them . or ..')
  }
  return prefix
}

export function parseGzipLevel(text: string): number {
  try {
    return parseInteger(text, { least: 1, most: 9 })
  } catch (error) {
    throw new Failure('config-invalid', 'expected a gzip level from 1 to 9', {
      cause: error,
      hints: ['for zstd or no compression use --compress zstd:3 or --compress none'],
    })
  }
}

/** One or several addresses, separated by commas; only what every mail server would refuse is refused here. */
export function parseAddresses(text: string): string[] {
  const addresses = text.split(',').map((address) => address.trim())
  if (addresses.some((address) => !/^[^\s@<>]+@[^\s@<>]+$/.test(address.replace(/^.*<([^<>]*)>$/, '$1')))) {
    throw new Failure('config-invalid', 'expected an e-mail address')
  }
  return addresses
}

/** Throws `config-invalid` (without the value) when the text of a variable cannot be what its rule says. */
export const checkVariable: Readonly<Record<VariableRule, (text: string) => void>> = {
  text: (text) => refuseControl(text),
  secret: () => {},
  // Understood by the connection parser; here only that it can be handed on.
  url: () => {},
  port: (text) => parseInteger(text, portBounds),
  truth: (text) => parseTruth(text),
  path: (text) => refuseControl(text),
  'gzip-level': (text) => parseGzipLevel(text),
  count: (text) => parseInteger(text, { least: 1, most: 100_000 }),
  seconds: (text) => parseInteger(text, { least: 0, most: 86_400 }),
  bucket: (text) => parseBucket(text),
  prefix: (text) => parsePrefix(text),
  address: (text) => parseAddresses(text),
  zone: (text) => parseTimeZone(text),
  'tls-mode': (text) => parseTlsMode(text),
}

function refuseControl(text: string): void {
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(text)) throw new Failure('config-invalid', 'expected one line of text without control characters')
}
