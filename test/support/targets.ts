import type { ConnectionTarget, TlsOptions } from '../../src/postgres/target.ts'

/** Parts that replace those of a target; `undefined` leaves a part as it is. */
export type TargetParts = {
  readonly [Part in keyof Omit<ConnectionTarget, 'tls' | 'parameters'>]?: ConnectionTarget[Part] | undefined
} & {
  readonly tls?: { readonly [Option in keyof TlsOptions]?: TlsOptions[Option] | undefined } | undefined
  /** Added to the target's, replacing those of the same name. */
  readonly parameters?: Readonly<Record<string, string>> | undefined
}

/** The target with single parts replaced. */
export function withOverrides(target: ConnectionTarget, parts: TargetParts): ConnectionTarget {
  return {
    ...target,
    ...defined(parts),
    tls: { ...target.tls, ...defined(parts.tls ?? {}) },
    parameters: { ...target.parameters, ...parts.parameters },
  } as ConnectionTarget
}

function defined<Parts extends object>(parts: Parts): Partial<Parts> {
  return Object.fromEntries(Object.entries(parts).filter(([, value]) => value !== undefined)) as Partial<Parts>
}
