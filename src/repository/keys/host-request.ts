import { Failure } from '../../kernel/failure.ts'
import { parseAgeRecipient } from '../../seal/age-keys.ts'
import { parseVerifyKey } from '../../seal/signing.ts'
import type { HostKey } from './key-file.ts'
import { hostIdOf, requireMemberName, type KnownHost, type Member } from './ring.ts'

/** What a host that has no kit at hand tells the one who has: one line without secrets. Its id covers both keys. */
export function formatHostRequest({ name, signingKey, identity }: HostKey): string {
  const { verifyKey } = signingKey
  return `tidemark-host ${hostIdOf({ verifyKey, recipient: identity.recipient })} ${verifyKey.text} ${identity.recipient.text} ${name}`
}

/** A host as it is about to be added. Throws `usage-invalid`. */
export function parseHostRequest(line: string): Pick<Member, 'name' | 'recipient'> & Pick<KnownHost, 'verifyKey'> {
  const [, id, verifyText = '', recipientText = '', name = ''] = /^tidemark-host ([0-9a-f]{32}) (\S+) (\S+) (.+)$/.exec(line.trim()) ?? []
  const verifyKey = parseVerifyKey('host', verifyText)
  if (verifyKey !== null) {
    requireMemberName(name)
    const recipient = parseAgeRecipient(recipientText)
    if (hostIdOf({ verifyKey, recipient }) === id) return { name, recipient, verifyKey }
  }
  throw new Failure('usage-invalid', 'this is no request of a host, or not the whole of it', {
    hints: ['the host prints it: one line that begins with tidemark-host'],
  })
}
