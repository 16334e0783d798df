import { Failure } from '../../kernel/failure.ts'
import { formatSignature, isSignedBy, parseSignature, signMessage, type SigningKey, type VerifyKey } from '../../seal/signing.ts'

/** Who signed: the root, or the host of this id. */
export type SignerName = string

/** A statement and who stands for it: docs/keys.md "What is signed". */
export interface SignedText {
  readonly signer: SignerName
  isSignedBy(key: VerifyKey): boolean
  /** The statement, as JSON was parsed: its content is still to be checked. */
  readonly statement: unknown
}

/** What is being signed or read. */
export interface SignedSubject {
  readonly purpose: 'ring' | 'run-key'
  /** The repository's id. */
  readonly repository: string
}

export function formatSignedText(statement: object, by: { readonly signer: SignerName; readonly key: SigningKey }, subject: SignedSubject): Buffer {
  const line = JSON.stringify(statement)
  const signature = signMessage(by.key, { ...subject, message: Buffer.from(line) })
  return Buffer.from(`${line}\nsigned-by ${by.signer} ${formatSignature(signature)}\n`)
}

/** Throws `integrity` naming `key`, where it lies. Says nothing yet about who signed. */
export function parseSignedText(key: string, bytes: Uint8Array, subject: SignedSubject): SignedText {
  const malformed = () => new Failure('integrity', `${key} is not what Tidemark writes: it is no signed text`, { details: { object: key } })
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    const match = /^([^\n]+)\nsigned-by (root|[0-9a-f]{32}) ([^\n]+)\n$/.exec(text)
    const [, line = '', signer = '', signatureText = ''] = match ?? []
    const signature = parseSignature(signatureText)
    if (signature === null) throw malformed()
    return {
      signer,
      isSignedBy: (verifyKey) => isSignedBy(verifyKey, { ...subject, message: Buffer.from(line) }, signature),
      statement: JSON.parse(line) as unknown,
    }
  } catch (error) {
    // What a JSON parser says quotes the text, in which there are keys.
    throw error instanceof Failure ? error : malformed()
  }
}
