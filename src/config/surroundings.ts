import type { Environment } from './environment.ts'
import type { PathBase } from './file-paths.ts'

/** What a caller may choose over the file and the variables. All optional; a command hands over those it has. */
export interface SettingsFlags {
  /** `--config FILE` */
  readonly config?: string
  /** `--env-file FILE` */
  readonly envFile?: string
  /** Replaces the connection of the one cluster. */
  readonly databaseUrl?: string
  /** `--container NAME` */
  readonly container?: string
  /** `--repo R…`: configured names, directories, `s3://bucket/prefix`. */
  readonly repositories?: readonly string[]
  /** `--host-key FILE` */
  readonly hostKey?: string
  /** `--kit FILE`: the recovery kit. */
  readonly kit?: string
  /** `--identity FILE…`: host keys, kits, files of `age-keygen`. */
  readonly identities?: readonly string[]
  /** `--passphrase-file FILE` */
  readonly passphraseFile?: string
  /** `--root tidemark-root1…` */
  readonly root?: string
}

/** The machine as the loader was told it is. */
export interface Machine {
  readonly flags: SettingsFlags
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly home: string | null
  readonly user: string
  readonly timeZone: string
  readonly cpus: number
  readonly isRoot: boolean
  readonly systemConfigFile: string
}

/** What every part of loading needs to look at. */
export interface Surroundings {
  readonly environment: Environment
  readonly paths: PathBase
  readonly machine: Machine
}
