import type { Environment } from './environment.ts'
import type { PathBase } from './file-paths.ts'

/** The options of the command line that change settings. All optional; a command hands over those it has. */
export interface SettingsFlags {
  /** `--config FILE` */
  readonly config?: string
  /** `--env-file FILE` */
  readonly envFile?: string
  /** `--database-url URL`: replaces the connection of the one cluster, or of `cluster`. */
  readonly databaseUrl?: string
  /** `--cluster NAME`: which one the connection flags mean. */
  readonly cluster?: string
  /** `--admin-url URL`: never stored. */
  readonly adminUrl?: string
  /** `--container NAME` */
  readonly container?: string
  /** `--repo R…`: configured names, directories, `s3://bucket/prefix`. */
  readonly repositories?: readonly string[]
  /** `--pg-bin DIR` */
  readonly pgBin?: string
  readonly format?: string
  readonly compress?: string
  readonly jobs?: number
  /** Any option that asks for sealed backups, by its name (`--encrypt`, `--recipient`, `--passphrase-file`); refused. */
  readonly encryption?: string
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
  readonly systemConfigFile: string
}

/** What every part of loading needs to look at. */
export interface Surroundings {
  readonly environment: Environment
  readonly paths: PathBase
  readonly machine: Machine
}
