import { join } from 'node:path'
import { Secret } from '../kernel/secret.ts'
import { agreeing, attributed, contradiction, encryptionUnavailable, type Environment, type VariableValue } from './environment.ts'
import { parsePath, type PathBase } from './file-paths.ts'
import type { ConfigFile } from './schema.ts'
import { parseRecipients, parseRoot } from './public-keys.ts'
import { resolveReference, type ReferenceContext } from './secrets.ts'
import type { EncryptionSettings, IdentitySource } from './settings.ts'
import type { Surroundings } from './surroundings.ts'

/** What is said of sealing, and where it is said. No file of keys is read here. */
export async function chooseEncryption(
  references: ReferenceContext | null,
  { environment, paths, machine }: Surroundings,
): Promise<{ readonly encryption: EncryptionSettings; readonly origins: Record<string, string> }> {
  const { flags } = machine
  const written = references?.source.config.encryption
  const file = written === undefined || written === 'none' || references === null ? null : { ...written, references }
  const variable = wantedByVariable(environment)
  const origins: Record<string, string> = {}
  const note = <T>(key: string, value: T, origin: string): T => {
    origins[`encryption.${key}`] = origin
    return value
  }
  const originOf = (key: string) => references?.source.originOf(['encryption', key]) ?? 'default'
  if (references !== null && written === 'none' && variable?.isSealed === true)
    throw contradiction({ name: 'encryption: none', text: '', origin: references.source.originOf(['encryption']) }, variable.from)

  const hostKey = chooseHostKey(file, { environment, paths, machine }, note)
  const recipients = chooseRecipients(file, environment, note)
  const identities = await chooseIdentities(file, { environment, paths, machine }, note)
  const path = (flag: string, text: string) => note(flag === '--kit' ? 'kit' : 'passphraseFile', ofFlag(flag, text, paths), flag)
  const kitFile = flags.kit === undefined ? null : path('--kit', flags.kit)
  const passphraseFile = flags.passphraseFile === undefined ? null : path('--passphrase-file', flags.passphraseFile)
  const root =
    flags.root !== undefined
      ? note('root', attributed({ name: '--root', text: flags.root, origin: '--root' }, parseRoot), '--root')
      : file?.root === undefined
        ? null
        : note('root', file.root, originOf('root'))
  const isAsked = file !== null || variable?.isSealed === true || hostKey?.isChosen === true || recipients.length > 0
  const hasKey = identities.length > 0 || kitFile !== null || passphraseFile !== null
  const wanted = written === 'none' ? 'clear' : isAsked || hasKey ? 'sealed' : variable === null ? null : 'clear'
  if (references !== null && written !== undefined) origins['encryption'] = references.source.originOf(['encryption'])
  else if (variable !== null) origins['encryption'] = variable.from.origin
  return { encryption: { wanted, recipients, hostKey, kitFile, identities, passphraseFile, root }, origins }
}

type FileEncryption = Exclude<NonNullable<ConfigFile['encryption']>, 'none'> & { readonly references: ReferenceContext }
type Note = <T>(key: string, value: T, origin: string) => T

/** Yes or no. What asks for another kind of sealing than there is, is refused, never stored otherwise. */
function wantedByVariable(environment: Environment): { readonly isSealed: boolean; readonly from: VariableValue } | null {
  const isNo = (text: string) => /^(?:false|no|off|0|none)$/i.test(text.trim())
  const from = agreeing(environment, ['TIDEMARK_ENCRYPTION', 'BACKUP_ENCRYPTION'], (text) => String(isNo(text)))
  if (from === undefined) return null
  if (!isNo(from.text) && !/^(?:true|yes|on|1|age)$/i.test(from.text.trim())) throw encryptionUnavailable(from.origin)
  return { isSealed: !isNo(from.text), from }
}

function chooseHostKey(file: FileEncryption | null, { environment, paths, machine }: Surroundings, note: Note): EncryptionSettings['hostKey'] {
  const { flags, env, home } = machine
  if (flags.hostKey !== undefined) return { path: note('hostKey', ofFlag('--host-key', flags.hostKey, paths), '--host-key'), isChosen: true }
  const variable = environment.take('TIDEMARK_HOST_KEY')
  if (variable !== undefined)
    return {
      path: note(
        'hostKey',
        attributed(variable, (text) => parsePath(text, paths)),
        variable.origin,
      ),
      isChosen: true,
    }
  if (file?.hostKey !== undefined) {
    const { references } = file
    return { path: note('hostKey', parsePath(file.hostKey, references.paths), references.source.originOf(['encryption', 'hostKey'])), isChosen: true }
  }
  const directory = env['XDG_CONFIG_HOME'] || (machine.isRoot ? '/etc' : home === null ? null : join(home, '.config'))
  return directory === null ? null : { path: note('hostKey', join(directory, 'tidemark', 'host.key'), 'default'), isChosen: false }
}

function chooseRecipients(file: FileEncryption | null, environment: Environment, note: Note): readonly string[] {
  if (file?.recipients !== undefined) {
    const origin = file.references.source.originOf(['encryption', 'recipients'])
    environment.ignore('TIDEMARK_RECIPIENTS', `the configuration file sets them (${origin})`)
    return note('recipients', file.recipients, origin)
  }
  const variable = environment.take('TIDEMARK_RECIPIENTS')
  return variable === undefined ? [] : note('recipients', attributed(variable, parseRecipients), variable.origin)
}

async function chooseIdentities(file: FileEncryption | null, { environment, paths, machine }: Surroundings, note: Note): Promise<readonly IdentitySource[]> {
  const flags = machine.flags.identities ?? []
  if (flags.length > 0)
    return note(
      'identities',
      flags.map((text) => ({ kind: 'file', path: ofFlag('--identity', text, paths) })),
      '--identity',
    )
  const variable = environment.take('TIDEMARK_IDENTITY')
  if (variable !== undefined) return note('identities', [{ kind: 'file', path: attributed(variable, (text) => parsePath(text, paths)) }], variable.origin)
  if (file?.identities === undefined) return []
  const { references } = file
  const found: IdentitySource[] = []
  for (const [index, text] of file.identities.entries()) {
    if (!text.startsWith('env:')) found.push({ kind: 'file', path: parsePath(text.replace(/^file:(?:\/\/(?=\/))?/, ''), references.paths) })
    else {
      const resolved = await resolveReference(text, ['encryption', 'identities', index], references)
      found.push({ kind: 'text', text: new Secret(resolved.text), origin: resolved.origin })
    }
  }
  return note('identities', found, references.source.originOf(['encryption', 'identities']))
}

function ofFlag(flag: string, text: string, paths: PathBase): string {
  return attributed({ name: flag, text, origin: flag }, (one) => parsePath(one, paths))
}
