import { Failure } from '../kernel/failure.ts'

/*
 * Public keys as Bech32 writes 32 bytes. This room knows only their form; whether one was mistyped is found where it is used.
 */

/** Of somebody who is to read. */
export const recipientPattern = /^age1[02-9ac-hj-np-z]{58}$/
export const rootPattern = /^tidemark-root1[02-9ac-hj-np-z]{58}$/

/** Several recipients, separated by commas or blanks. What may be a secret is not repeated. */
export function parseRecipients(text: string): readonly string[] {
  const recipients = text.split(/[\s,]+/).filter((each) => each !== '')
  const wrong = recipients.find((each) => !recipientPattern.test(each))
  if (wrong === undefined && recipients.length > 0) return recipients
  throw new Failure('config-invalid', 'expected recipients of age, such as age1…', {
    hints: [
      wrong !== undefined && /^age-secret-key-/i.test(wrong) ? 'this is a secret key: age-keygen -y FILE prints its public part' : 'age-keygen prints one',
    ],
  })
}

export function parseRoot(text: string): string {
  if (rootPattern.test(text.trim())) return text.trim()
  throw new Failure('config-invalid', 'expected a root key, such as tidemark-root1…', { hints: ['the recovery kit names it: root: tidemark-root1…'] })
}
