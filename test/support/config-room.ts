import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Failure } from '../../src/kernel/failure.ts'
import { loadSettings, type LoadOptions, type SettingsFlags } from '../../src/config/load.ts'
import type { Settings } from '../../src/config/settings.ts'

/** A working directory of its own for the tests of this room, and a loader that sees nothing of the real machine. */
export interface TestRoom extends AsyncDisposable {
  readonly directory: string
  load(env?: Readonly<Record<string, string>>, flags?: SettingsFlags, more?: LoadOptions): Promise<Settings>
  /** The failure that loading ends in; throws when it succeeds. */
  failure(env?: Readonly<Record<string, string>>, flags?: SettingsFlags): Promise<Failure>
}

export async function testRoom(files: Readonly<Record<string, string>> = {}): Promise<TestRoom> {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-config-'))
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(directory, name)), { recursive: true })
    await writeFile(join(directory, name), content)
  }
  const load = (env: Readonly<Record<string, string>> = {}, flags: SettingsFlags = {}, more: LoadOptions = {}) =>
    loadSettings({
      env,
      flags,
      cwd: directory,
      home: '/home/ada',
      user: 'ada',
      timeZone: 'Europe/Paris',
      cpus: 2,
      systemConfigFile: join(directory, 'etc/tidemark.yaml'),
      ...more,
    })
  return {
    directory,
    load,
    failure: async (env, flags) => {
      const settings = await load(env, flags).catch((error: unknown) => error)
      if (settings instanceof Error && settings.name === 'Failure') return settings as Failure
      throw settings instanceof Error ? settings : new Error('the settings were loaded, although a failure was expected')
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}
