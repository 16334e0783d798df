import { Failure } from '../../kernel/failure.ts'
import { Secret } from '../../kernel/secret.ts'
import { formatAgeIdentity, generateAgeIdentity, parseAgeIdentity, type AgeIdentity } from '../../seal/age-keys.ts'
import { formatSigningKey, generateSigningKey, parseSigningKey, parseVerifyKey, type SigningKey, type VerifyKey } from '../../seal/signing.ts'

/** What the recovery kit holds: everything. */
export interface RecoveryKit {
  readonly rootKey: SigningKey
  readonly identity: AgeIdentity
}

/** What a host has of its own, and the root that it trusts. */
export interface HostKey {
  readonly name: string
  readonly root: VerifyKey
  readonly signingKey: SigningKey
  readonly identity: AgeIdentity
}

/** What was found in a file of keys. */
export type KeyFile =
  | { readonly kind: 'kit'; readonly kit: RecoveryKit }
  | { readonly kind: 'host'; readonly host: HostKey }
  /** Of age alone, as `age-keygen` writes them. */
  | { readonly kind: 'identities'; readonly identities: readonly AgeIdentity[] }

export function generateRecoveryKit(): RecoveryKit {
  return { rootKey: generateSigningKey('root'), identity: generateAgeIdentity() }
}

export function generateHostKey(name: string, root: VerifyKey): HostKey {
  return { name, root, signingKey: generateSigningKey('host'), identity: generateAgeIdentity() }
}

/**
 * Reads a recovery kit, a host key or a file of `age-keygen`. The secrets are found by their form, wherever they stand, so that a kit may have
 * been typed from paper. `place` is for messages. Throws `key-missing`, never with any of the text.
 */
export function parseKeyFile(text: Secret, place: string): KeyFile {
  const unusable = (why: string) => new Failure('key-missing', `cannot use the keys in ${place}: ${why}`, { details: { file: place } })
  const found = (prefix: string) => [...new Set(text.reveal().match(new RegExp(`\\b${prefix}1[a-z0-9]{20,}`, 'gi')) ?? [])]
  const signingKey = (kind: 'root' | 'host') => {
    const [first, second] = found(`tidemark-${kind}-key-`)
    if (first === undefined) return undefined
    if (second !== undefined) throw unusable(`it holds more than one key of a ${kind}`)
    const key = parseSigningKey(kind, new Secret(first))
    if (key === null) throw unusable(`the key of the ${kind} was mistyped`)
    return key
  }

  if (text.reveal().startsWith('age-encryption.org/') || text.reveal().startsWith('-----BEGIN AGE ENCRYPTED FILE-----'))
    throw unusable('the file itself is sealed; open it first: age -d FILE')
  const rootKey = signingKey('root')
  const hostKey = signingKey('host')
  const identities = found('age-secret-key-').map((one) => parseAgeIdentity(new Secret(one)))
  const [identity, further] = identities
  if (rootKey !== undefined && hostKey !== undefined) throw unusable('it is neither a recovery kit nor a host key, but both')
  if (identity === undefined) throw unusable('it holds no AGE-SECRET-KEY-1…')
  if (rootKey === undefined && hostKey === undefined) return { kind: 'identities', identities }
  if (further !== undefined) throw unusable('it holds more than one AGE-SECRET-KEY-1…')

  const roots = found('tidemark-root').map((one) => parseVerifyKey('root', one))
  const [root] = roots
  if (rootKey !== undefined) {
    if (roots.some((one) => one?.text !== rootKey.verifyKey.text)) throw unusable('the root key is not the one whose public part it names')
    return { kind: 'kit', kit: { rootKey, identity } }
  }
  if (hostKey === undefined || root == null || roots.length !== 1) throw unusable('it does not name the one root that this host trusts')
  const name = /^# name: (.+)$/m.exec(text.reveal())?.[1]
  if (name === undefined) throw unusable('it does not name the host')
  return { kind: 'host', host: { name, root, signingKey: hostKey, identity } }
}

/** The text of a host's key file. */
export function formatHostKey({ name, root, signingKey, identity }: HostKey): Secret {
  return new Secret(
    [
      '# Tidemark host key',
      '# With this, this host signs its backups and opens the repository. Keep it on this host only, outside of every repository;',
      '# when it is lost or stolen, remove the host with the recovery kit and make another: tidemark key add',
      `# name: ${name}`,
      `# root: ${root.text}`,
      `# signing key: ${formatSigningKey(signingKey).reveal()}`,
      formatAgeIdentity(identity).reveal(),
      '',
    ].join('\n'),
  )
}
