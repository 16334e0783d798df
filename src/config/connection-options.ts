import { targetFromParameters } from '../postgres/connection-parameters.ts'
import type { ConnectionTarget, ContainerTarget, TlsOptions } from '../postgres/target.ts'
import type { ConnectionSources } from './connection.ts'
import { parsePath } from './file-paths.ts'

/** What a connection has beside its five parts: container, password file, TLS, time limit, further libpq parameters. */

export function chooseContainer(sources: ConnectionSources, origins: Record<string, string>): ContainerTarget | null {
  const { environment, file, flagContainer } = sources
  if (flagContainer !== null) {
    origins['container'] = flagContainer.origin
    environment.ignore('POSTGRES_CONTAINER', '--container was given')
    return { kind: 'container', name: flagContainer.value }
  }
  if (file.container !== undefined) {
    origins['container'] = file.container.origin
    environment.ignore('POSTGRES_CONTAINER', `the configuration file names the container (${file.container.origin})`)
    return file.container.value
  }
  const value = sources.variablesApply ? environment.take('POSTGRES_CONTAINER') : undefined
  if (value === undefined) return null
  origins['container'] = value.origin
  return { kind: 'container', name: value.text }
}

export function choosePassFile(
  sources: ConnectionSources,
  given: { readonly passFile: string | null; readonly hasPassword: boolean },
  origins: Record<string, string>,
): string | null {
  const { file, environment } = sources
  if (file.passFile !== undefined) {
    origins['passFile'] = file.passFile.origin
    environment.ignore('PGPASSFILE', `the configuration file names one (${file.passFile.origin})`)
    return file.passFile.value
  }
  if (given.passFile !== null) return given.passFile
  if (given.hasPassword) {
    environment.ignore('PGPASSFILE', 'the password is given elsewhere')
    return null
  }
  const value = environment.take('PGPASSFILE')
  if (value === undefined) return null
  origins['passFile'] = value.origin
  return parsePath(value.text, sources.paths)
}

/** File, then URL, then variables, option by option; what their combination means is libpq's rule. */
export function chooseTls(sources: ConnectionSources, parsed: ConnectionTarget | null, origins: Record<string, string>): TlsOptions {
  const { environment, file } = sources
  const url = urlText(sources, parsed)
  const parameters: Record<string, string> = {}
  for (const { key, parameter, variable } of tlsOptions) {
    const own = file.tls?.value[key] ?? undefined
    const inUrl = parsed !== null && new RegExp(`(?:[?&]|^|\\s)${parameter}\\s*=`).test(url)
    if (own !== undefined || inUrl) {
      environment.ignore(variable, own !== undefined ? `the configuration file sets it (${file.tls?.origin ?? ''})` : `the URL sets ${parameter}`)
      origins[`tls.${key}`] = (own !== undefined ? file.tls?.origin : origins['url']) ?? 'default'
      const value = own ?? parsed?.tls[key] ?? null
      if (value !== null) parameters[parameter] = value
      continue
    }
    const value = environment.take(variable)
    origins[`tls.${key}`] = value?.origin ?? 'default'
    if (value === undefined) {
      const implied = parsed?.tls[key] ?? null
      if (implied !== null) parameters[parameter] = implied
    } else parameters[parameter] = key === 'mode' || value.text === 'system' ? value.text : parsePath(value.text, sources.paths)
  }
  // `prefer` is also what a URL without sslmode parses to; left out, sslrootcert=system may imply verify-full.
  if (parameters['sslmode'] === 'prefer' && parameters['sslrootcert'] === 'system') delete parameters['sslmode']
  return targetFromParameters(parameters, { user: 'unused' }).tls
}

const tlsOptions = [
  { key: 'mode', parameter: 'sslmode', variable: 'PGSSLMODE' },
  { key: 'rootCertFile', parameter: 'sslrootcert', variable: 'PGSSLROOTCERT' },
  { key: 'certFile', parameter: 'sslcert', variable: 'PGSSLCERT' },
  { key: 'keyFile', parameter: 'sslkey', variable: 'PGSSLKEY' },
] as const

export function chooseTimeout(sources: ConnectionSources, base: ConnectionTarget, origins: Record<string, string>): number {
  const { environment, file } = sources
  if (file.connectTimeoutSeconds !== undefined) {
    origins['connectTimeoutSeconds'] = file.connectTimeoutSeconds.origin
    environment.ignore('PGCONNECT_TIMEOUT', 'the configuration file sets it')
    return file.connectTimeoutSeconds.value
  }
  if (/connect_timeout\s*=/.test(urlText(sources, base))) return base.connectTimeoutSeconds
  const value = environment.take('PGCONNECT_TIMEOUT')
  if (value === undefined) return base.connectTimeoutSeconds
  origins['connectTimeoutSeconds'] = value.origin
  // libpq: zero means no limit; an hour is the longest anyone can mean.
  return Number(value.text) === 0 ? 3600 : Number(value.text)
}

const parameterVariables = {
  PGHOSTADDR: 'hostaddr',
  PGOPTIONS: 'options',
  PGTARGETSESSIONATTRS: 'target_session_attrs',
  PGCHANNELBINDING: 'channel_binding',
} as const

export function applyParameters(sources: ConnectionSources, parameters: Record<string, string>, origins: Record<string, string>): void {
  for (const [variable, parameter] of Object.entries(parameterVariables)) {
    // An address belongs to one host: it fills in only beside PGHOST.
    const misplaced = parameter === 'hostaddr' && !(origins['host'] ?? '').startsWith('PGHOST')
    if (parameters[parameter] !== undefined || misplaced || !sources.variablesApply) {
      sources.environment.ignore(variable, misplaced ? 'the host is named elsewhere' : `the URL sets ${parameter}`)
      continue
    }
    const value = sources.environment.take(variable)
    if (value === undefined) continue
    parameters[parameter] = value.text
    origins[`parameters.${parameter}`] = value.origin
  }
}

/** The URL as written, to see which parameters it names; '' when there is none. */
function urlText(sources: ConnectionSources, parsed: ConnectionTarget | null): string {
  if (parsed === null) return ''
  return sources.flagUrl?.value ?? sources.file.url?.value ?? sources.environment.peek('DATABASE_URL')?.text ?? ''
}
