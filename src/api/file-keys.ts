import type { OpeningKeys } from '../seal/age.ts'
import { keysOf } from './unlock-repository.ts'
import type { Workspace } from './workspace.ts'

/** What the keys at hand open of a file on disk, whoever sealed it and wherever it came from. Their files are read only when a sealed file is met. */
export async function fileKeysOf(workspace: Workspace): Promise<OpeningKeys> {
  const { host, kit, identities = [], passphrases = [] } = await keysOf(workspace)
  const own = [...(kit === undefined ? [] : [kit.identity]), ...(host === undefined ? [] : [host.identity])]
  return { identities: [...own, ...identities], passphrases }
}
