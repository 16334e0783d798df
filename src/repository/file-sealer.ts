import type { SecretBytes } from '../kernel/secret.ts'
import { beginAge, type AgeSealing, type OpeningKeys } from '../seal/age.ts'
import type { Keyring } from './keys/keyring.ts'

/** Seals what one run stores in a repository with a keyring, and opens it again for the read-back, which a write-only host could not do else. */
export interface FileSealer {
  /** Begins the age file that is to lie under this key. */
  begin(key: string): Promise<AgeSealing>
  /** What opens a file that this sealer began. */
  keysOf(key: string): OpeningKeys
  /** From here nothing opens what was sealed but the keys of its readers. */
  forget(): void
}

/** Seals to those who read data now. Throws `integrity` when it is not certain who they are. */
export function createFileSealer(keyring: Keyring): FileSealer {
  const recipients = keyring.readers()
  const fileKeys = new Map<string, SecretBytes>()
  return {
    begin: async (key) => {
      const sealing = await beginAge({ recipients })
      fileKeys.get(key)?.forget()
      fileKeys.set(key, sealing.fileKey)
      return sealing
    },
    keysOf: (key) => {
      const fileKey = fileKeys.get(key)
      return fileKey === undefined ? {} : { fileKey }
    },
    forget: () => {
      for (const fileKey of fileKeys.values()) fileKey.forget()
      fileKeys.clear()
    },
  }
}
