import { z } from 'zod'
import { isFailure } from '../kernel/failure.ts'
import { suggestion } from '../kernel/suggest.ts'

/*
 * The pieces of which `schema.ts` is made. A schema describes the file as it is written (no transforms), so that the
 * JSON Schema for editors and the reference come from it; `load.ts` turns the text into types.
 */

/** Key in a schema's metadata: the area of a setting that is accepted but does not act in this version. */
export const laterKey = 'x-tidemark-later'

/** An object in which unknown keys are errors that name the likely one. */
export function strict<S extends z.ZodRawShape>(shape: S, hints: Readonly<Record<string, string>> = {}) {
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== 'unrecognized_keys') return undefined
      const keys: readonly string[] = issue.keys
      return keys.map((key) => `unknown key "${printableKey(key)}": ${hints[key] ?? suggestion(key, Object.keys(shape))}`).join('; ')
    },
  })
}

/** A key for messages. One that looks like no key is a value with a forgotten colon, perhaps a URL with a password. */
export function printableKey(key: string): string {
  return /^[\w$.-]{1,63}$/.test(key) ? key : '…'
}

/** Text that one of our parsers must accept; the parser's message is the error. */
export function parsed(parse: (text: string) => unknown, examples: readonly string[]) {
  return z
    .string()
    .superRefine((text, context) => {
      if (isReference(text)) return
      const message = complaint(parse, text)
      if (message !== undefined) context.addIssue({ code: 'custom', message })
    })
    .meta({ examples: [...examples] })
}

function complaint(parse: (text: string) => unknown, text: string): string | undefined {
  try {
    parse(text)
    return undefined
  } catch (error) {
    if (isFailure(error)) return error.message
    throw error
  }
}

/** Whether a text is `env:NAME` or `file:/path` instead of the value itself. */
export function isReference(text: string): boolean {
  return /^(?:env|file):/.test(text)
}

/** A value that may be written inline or by reference. */
export const text = () => z.string().min(1, 'expected some text')

/** A value that must be written by reference, so that the file can be shown, copied and committed. */
export const secret = () =>
  z
    .string()
    .regex(/^(?:env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$/, 'a secret is written by reference: env:NAME or file:/path')
    .meta({ examples: ['env:NAME', 'file:/run/secrets/name'] })

export const truth = () => z.union([z.boolean(), z.enum(['true', 'false', 'yes', 'no', 'on', 'off'])])

export const words = () => z.array(text()).min(1, 'expected at least one')

/** A command as a list of arguments: Tidemark never starts a shell. */
export const command = () =>
  z.array(text(), { error: 'expected a list of arguments, such as [docker, compose, stop, app] (there is no shell)' }).min(1, 'expected at least the program')

/** Marks a setting as validated and carried, but not acting in this version. */
export function later<S extends z.ZodType>(area: string, schema: S): S {
  return schema.meta({ ...schema.meta(), [laterKey]: area })
}
