import { readFile } from 'node:fs/promises'
import { checkServerIdentity, type ConnectionOptions, getCACertificates } from 'node:tls'
import { Failure, messageOf } from '../kernel/failure.ts'
import type { ConnectionTarget } from './target.ts'

/**
 * What Node's TLS needs for a target. `verify-*` without a root file trusts the authorities of Node and of the system together;
 * client programs are given the same set (`client-environment.ts`).
 */
export async function tlsOptions(target: ConnectionTarget): Promise<ConnectionOptions> {
  const { mode, rootCertFile, certFile, keyFile } = target.tls
  const verifies = mode === 'verify-ca' || mode === 'verify-full'
  const crl = target.parameters['sslcrl']
  if (target.parameters['sslcrldir'] !== undefined) {
    throw new Failure('connection-invalid', 'the connection names a directory of revocation lists (sslcrldir), which is not supported', {
      hints: ['name one file: sslcrl=FILE'],
    })
  }
  return {
    rejectUnauthorized: verifies,
    ...(verifies ? { ca: rootCertFile === null ? [...trustedAuthorities()] : await readPem(rootCertFile, 'root certificate') } : {}),
    ...(certFile === null ? {} : { cert: await readPem(certFile, 'client certificate') }),
    ...(keyFile === null ? {} : { key: await readPem(keyFile, 'client key') }),
    ...(crl === undefined ? {} : { crl: await readPem(crl, 'revocation list') }),
    ...minimumVersion(target.parameters['ssl_min_protocol_version']),
    checkServerIdentity: mode === 'verify-full' ? checkServerIdentity : () => undefined,
  }
}

/** Certificates (PEM) of the authorities trusted without a file of one's own. */
export function trustedAuthorities(): ReadonlySet<string> {
  return new Set([...getCACertificates('default'), ...getCACertificates('system')])
}

function minimumVersion(wanted: string | undefined): ConnectionOptions {
  if (wanted === undefined) return {}
  const known = (['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const).find((version) => version === wanted)
  if (known === undefined)
    throw new Failure('connection-invalid', `ssl_min_protocol_version of the connection is "${wanted}"`, {
      hints: ['known are TLSv1, TLSv1.1, TLSv1.2, TLSv1.3'],
    })
  return { minVersion: known }
}

async function readPem(path: string, what: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw new Failure('connection-invalid', `cannot read the ${what} ${path}: ${messageOf(error)}`, { cause: error })
  })
}
