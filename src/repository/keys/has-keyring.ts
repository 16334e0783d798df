import type { CallOptions, Storage } from '../../storage/storage.ts'
import { ringKey, ringsPrefix } from './key-layout.ts'

/** Whether a repository has a keyring. What opens one is not loaded for that. */
export async function hasKeyring(storage: Storage, options: CallOptions): Promise<boolean> {
  if ((await storage.stat(ringKey(1), options)) !== undefined) return true
  for await (const _ring of storage.list(ringsPrefix, options)) return true
  return false
}
