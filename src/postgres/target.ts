import type { Secret } from '../kernel/secret.ts'

/**
 * Where a PostgreSQL server is and who we are there. Made from a URL, from parts, or from a service
 * file by `connection-url.ts`; turned into a session by `session.ts` and into the environment of a
 * client program by `client-environment.ts`.
 */
export interface ConnectionTarget {
  /** Host name, IP address or socket directory (begins with `/`); null = libpq's default socket. */
  readonly host: string | null
  readonly port: number
  readonly user: string
  readonly database: string
  readonly password: Secret | null
  /** Set when the password comes from a file instead. */
  readonly passFile: string | null
  readonly tls: TlsOptions
  /** Seconds to wait for a connection. */
  readonly connectTimeoutSeconds: number
  /** Every other libpq parameter of the URL or service file, kept and passed on (`options`, `target_session_attrs`, …). */
  readonly parameters: Readonly<Record<string, string>>
  /** The client programs run inside this container, and so does the connection if it has no reachable address. */
  readonly container: ContainerTarget | null
}

export interface TlsOptions {
  readonly mode: 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'
  readonly rootCertFile: string | null
  readonly certFile: string | null
  readonly keyFile: string | null
}

/** A container named directly or by its compose service. */
export type ContainerTarget =
  | { readonly kind: 'container'; readonly name: string }
  | { readonly kind: 'compose'; readonly service: string; readonly files: readonly string[]; readonly project: string | null }
