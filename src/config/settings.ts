import type { Secret } from '../kernel/secret.ts'
import type { ConnectionTarget } from '../postgres/target.ts'
import type { StorageSettings } from '../storage/settings.ts'

/**
 * The effective settings: what the configuration file, the environment, the `.env` file, the flags and
 * the defaults add up to. Made once by `load.ts`, frozen, and handed down.
 */
export interface Settings {
  readonly clusters: Readonly<Record<string, ClusterSettings>>
  /** Clusters of which a reference leads nowhere, by name, with what is wrong: what is about another one can go on. They count wherever it matters that there are several. */
  readonly unusable: Readonly<Record<string, { readonly message: string; readonly hints: readonly string[] }>>
  readonly repositories: Readonly<Record<string, RepositorySettings>>
  readonly encryption: EncryptionSettings
  /** The file that was read, absolute, or null when the environment alone configures us. */
  readonly configFile: string | null
  readonly envFile: string | null
  /** Where each effective setting came from: `clusters.nexo.url` → `DATABASE_URL (.env)`. */
  readonly origins: Readonly<Record<string, string>>
  /** Variables that were set and not used, with the reason. */
  readonly ignored: readonly { readonly variable: string; readonly reason: string }[]
  /** Settings that were checked and are carried, but that no engine of this version acts upon; say so wherever they are shown. */
  readonly notActing: readonly NotActing[]
  /** Choices worth telling although nothing is wrong: which variable overrides which part of the URL. */
  readonly notes: readonly string[]
  /** What works but should be put right: a password inside the configuration file. */
  readonly warnings: readonly string[]
  /** Directory of pg_dump, pg_restore and psql to try first, absolute. */
  readonly pgBin: string | null
  readonly directories: Directories
}

/** Where things lie that are in neither the database nor a repository; null: the machine's usual place. */
export interface Directories {
  /** Absolute: for dumps while they are staged. */
  readonly work: string | null
  /** Absolute: for what is fetched once. */
  readonly cache: string | null
  /** Of the container, through which client programs run: for files on their way. */
  readonly containerWork: string | null
}

export interface NotActing {
  /** `clusters.nexo.retention`, `notify.email.to` */
  readonly setting: string
  /** What will act upon it one day: `retention`, `schedule`, `notify`, … */
  readonly area: string
  readonly origin: string
  /** As written; secrets are references or `Secret`s. */
  readonly value: unknown
}

export interface ClusterSettings {
  readonly name: string
  readonly enabled: boolean
  /** The backup role. */
  readonly target: ConnectionTarget
  /** The role for restore, swap and drill on the same server; null = use `target`, ask when its rights do not suffice. */
  readonly adminTarget: ConnectionTarget | null
  readonly dump: DumpSettings
  readonly base: BaseSettings
  readonly drill: DrillSettings
  readonly checks: readonly CheckSettings[]
  readonly hooks: HookSettings
  /** Repositories to write to, by name; at least one. */
  readonly repositories: readonly string[]
  /** IANA zone in which days and file-name times are counted. */
  readonly timeZone: string
  /** Seconds until a run that waits for a table lock gives up. */
  readonly lockWaitSeconds: number
}

export interface DumpSettings {
  /** Databases to dump; empty = the target's own database. */
  readonly databases: readonly string[]
  readonly format: DumpFormat
  readonly compression: Compression
  readonly jobs: number
  /** File name without extension; `<db>`, `<YYYYMMDD_HHMMSS>`, `<cluster>`, `<id>` are filled in. */
  readonly nameTemplate: string
  readonly globals: boolean
  readonly fingerprint: boolean
}

export interface BaseSettings {
  /** Whether a backup of no stated type is a base backup. */
  readonly enabled: boolean
  /** Of zstd. */
  readonly level: number
  readonly jobs: number
  readonly reader: 'auto' | 'stream' | 'direct'
}

export type DumpFormat = 'custom' | 'plain' | 'directory'

export type Compression =
  | { readonly method: 'gzip'; readonly level: number }
  | { readonly method: 'zstd'; readonly level: number }
  | { readonly method: 'none' }

export interface DrillSettings {
  /** Where the copy is restored: the source server, an embedded server made for it, or another server. */
  readonly server: 'same' | 'embedded' | ConnectionTarget
  /** The newest rows of these tables are shown in the proof. */
  readonly newest: readonly { readonly table: string; readonly by: string; readonly rows: number; readonly mask: readonly string[] }[]
}

export interface CheckSettings {
  readonly sql: string
  /** Compared as text with the first column of the first row. */
  readonly expect: string | number | boolean | null
}

/** Commands as argument arrays (no shell), with `DATABASE_URL`-free environments. */
export interface HookSettings {
  readonly beforeRestore: readonly string[] | null
  readonly afterRestore: readonly string[] | null
  readonly onFailure: readonly string[] | null
}

export interface RepositorySettings {
  readonly name: string
  readonly storage: StorageSettings
  readonly layout: 'flat' | 'tiered' | 'dated'
  /** Bytes per second, or null for no limit. */
  readonly bandwidth: number | null
  /** Somebody wrote that backups in it are not sealed. */
  readonly isClear: boolean
}

/** How backups are sealed, and which keys are at hand; their files are not read yet. All paths are absolute. */
export interface EncryptionSettings {
  /** Somebody asked for sealed backups, or for backups in clear. Null: nobody did; then they are sealed as soon as this host has a key. */
  readonly wanted: 'sealed' | 'clear' | null
  /** `age1…`: who reads everything, besides the recovery kit and the hosts. */
  readonly recipients: readonly string[]
  /** The key file of this host; `isChosen`: not just the usual place. Null where the machine names no home directory. */
  readonly hostKey: { readonly path: string; readonly isChosen: boolean } | null
  readonly kitFile: string | null
  readonly identities: readonly IdentitySource[]
  readonly passphraseFile: string | null
  /** `tidemark-root1…`: whom to trust where no key at hand says it. */
  readonly root: string | null
}

export type IdentitySource =
  | { readonly kind: 'file'; readonly path: string }
  /** From a variable, which `origin` names. */
  | { readonly kind: 'text'; readonly text: Secret; readonly origin: string }

export type { S3Settings, StorageSettings } from '../storage/settings.ts'
