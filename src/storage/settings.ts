import type { Secret } from '../kernel/secret.ts'

/** Where a repository's bytes lie and how to get at them, as the configuration gives it. */
export type StorageSettings =
  | {
      readonly kind: 'posix'
      readonly path: string
      readonly dirMode: number
      readonly fileMode: number
      readonly owner: string | null
      readonly group: string | null
    }
  | S3Settings

export interface S3Settings {
  readonly kind: 's3'
  readonly bucket: string
  /** Without leading or trailing slash; '' for none. */
  readonly prefix: string
  readonly region: string | null
  readonly endpoint: string | null
  readonly forcePathStyle: boolean
  readonly accessKeyId: Secret | null
  readonly secretAccessKey: Secret | null
  readonly sessionToken: Secret | null
  readonly profile: string | null
  readonly storageClass: string | null
  /** A CA bundle (PEM file) for private endpoints. */
  readonly caFile: string | null
  /** `auto` asks what the store can do; the others force it for stores that misbehave. */
  readonly checksums: 'auto' | 'when-required'
  readonly multipartBytes: number
}
