import { cancel, confirm, isCancel, password, select, text } from '@clack/prompts'
import type { Profile } from '../config/write.ts'
import { Failure } from '../kernel/failure.ts'

/** The questions of `init`; each is also a flag. Loaded only on a terminal. */
export interface Asker {
  url(): Promise<string>
  name(usual: string): Promise<string>
  place(): Promise<string>
  profile(): Promise<Profile | undefined>
  encrypt(): Promise<boolean>
  firstBackup(): Promise<boolean>
}

/** A signal ends the question that is open. */
export function createAsker(signal: AbortSignal): Asker {
  return {
    // Hidden while typed: it may hold a password.
    url: async () =>
      answer(
        await password({
          signal,
          message: 'Database URL, as postgres://user:password@host/database',
          validate: (value) => (value === undefined || value.trim() === '' ? 'a URL is needed' : undefined),
        }),
      ),
    name: async (usual) => answer(await text({ signal, message: 'Name of this cluster', initialValue: usual })),
    place: async () => answer(await text({ signal, message: 'Store backups in (a directory, or s3://bucket/prefix)', initialValue: './backups' })),
    profile: async () => {
      const chosen = answer(
        await select<Profile | 'none'>({
          signal,
          message: 'Schedule and retention to write down (checked and kept; they act in a later version)',
          initialValue: 'none',
          options: [
            { value: 'none', label: 'none: cron or a timer of your own runs the commands' },
            { value: 'production', label: 'production: hourly, 30 days, weekly and monthly' },
            { value: 'staging', label: 'staging: twice a day, 14 days' },
            { value: 'development', label: 'development: daily, 7 days' },
          ],
        }),
      )
      return chosen === 'none' ? undefined : chosen
    },
    encrypt: async () =>
      answer(
        await confirm({
          signal,
          message: 'Seal the backups, so that nobody reads them without a key? A recovery kit is written, which belongs off this machine',
          initialValue: true,
        }),
      ),
    firstBackup: async () => answer(await confirm({ signal, message: 'Take the first backup now?', initialValue: true })),
  }
}

function answer<T>(given: T): Exclude<T, symbol> {
  if (!isCancel(given)) return given as Exclude<T, symbol>
  cancel('Stopped; nothing more was changed.')
  throw new Failure('cancelled', 'stopped at a question')
}
