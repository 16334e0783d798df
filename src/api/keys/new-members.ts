import type { NewMember } from '../../repository/keys/change-keyring.ts'
import { parseAgeRecipient } from '../../seal/age-keys.ts'

/** `age1…` or `NAME=age1…`, as typed; each once. Throws `config-invalid`. */
export function newRecipients(texts: readonly string[]): readonly Extract<NewMember, { kind: 'recipient' }>[] {
  return [...new Set(texts)].map((text) => {
    const [, name, key = text] = /^(.+)=(age1.+)$/s.exec(text) ?? []
    const recipient = parseAgeRecipient(key)
    return { kind: 'recipient', name: name ?? `${recipient.text.slice(0, 12)}…${recipient.text.slice(-6)}`, recipient }
  })
}
