import { Failure } from '../kernel/failure.ts'
import { Secret } from '../kernel/secret.ts'
import type { Sourced } from './connection.ts'
import type { Environment } from './environment.ts'
import { parsePath, type PathBase } from './file-paths.ts'
import type { S3Settings } from './settings.ts'

/** What flag, file or seed variables say of a bucket, references followed. */
export interface S3Written {
  readonly bucket: Sourced
  readonly prefix?: Sourced
  readonly region?: Sourced
  readonly endpoint?: Sourced
  readonly forcePathStyle?: Sourced<boolean>
  readonly accessKeyId?: Sourced
  readonly secretAccessKey?: Sourced
  readonly sessionToken?: Sourced
  readonly profile?: Sourced
  readonly storageClass?: Sourced
  readonly caFile?: Sourced
  readonly checksums?: Sourced<'auto' | 'when-required'>
  readonly multipartBytes?: Sourced<number>
}

export const defaultMultipartBytes = 16 * 2 ** 20

/** Completes a bucket with the AWS variables, as the AWS tools do; `origins` gets one entry per field that is set. */
export function resolveS3(
  written: S3Written,
  context: { readonly environment: Environment; readonly paths: PathBase; readonly origins: Record<string, string> },
): S3Settings {
  const { environment, origins } = context
  const record = (field: string, origin: string) => (origins[`s3.${field}`] = origin)
  const fill = (field: keyof S3Written, variables: readonly string[]): string | null => {
    const own = written[field]
    if (own !== undefined) {
      record(field, own.origin)
      for (const name of variables) environment.ignore(name, `the configuration sets it (${own.origin})`)
      return String(own.value)
    }
    for (const name of variables) {
      const value = environment.take(name)
      if (value === undefined) continue
      record(field, value.origin)
      return field === 'caFile' ? parsePath(value.text, context.paths) : value.text
    }
    return null
  }

  const keys = credentials(written, environment, record)
  const endpoint = fill('endpoint', ['AWS_ENDPOINT_URL_S3'])
  if (endpoint !== null) checkEndpoint(endpoint, origins['s3.endpoint'] ?? 'the endpoint')
  for (const field of ['bucket', 'prefix', 'forcePathStyle', 'storageClass', 'checksums', 'multipartBytes'] as const) {
    const own = written[field]
    record(field, own?.origin ?? 'default')
  }
  return {
    kind: 's3',
    bucket: written.bucket.value,
    prefix: written.prefix?.value ?? '',
    region: fill('region', ['AWS_REGION', 'AWS_DEFAULT_REGION']),
    endpoint,
    forcePathStyle: written.forcePathStyle?.value ?? (endpoint !== null && !/\.amazonaws\.com(?:\.cn)?(?::\d+)?\/?$/i.test(endpoint)),
    ...keys,
    storageClass: written.storageClass?.value ?? null,
    caFile: fill('caFile', ['AWS_CA_BUNDLE']),
    checksums: written.checksums?.value ?? 'auto',
    multipartBytes: written.multipartBytes?.value ?? defaultMultipartBytes,
  }
}

type Credentials = Pick<S3Settings, 'accessKeyId' | 'secretAccessKey' | 'sessionToken' | 'profile'>

/** Keys and profile come as one: the file's key id is never paired with the environment's secret. */
function credentials(written: S3Written, environment: Environment, record: (field: string, origin: string) => void): Credentials {
  const names = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_PROFILE'] as const
  const inFile = written.accessKeyId ?? written.secretAccessKey ?? written.sessionToken ?? written.profile
  if (inFile !== undefined) for (const name of names) environment.ignore(name, `the configuration gives its own credentials (${inFile.origin})`)
  const take = (field: 'accessKeyId' | 'secretAccessKey' | 'sessionToken' | 'profile', name: (typeof names)[number]): Sourced | undefined => {
    if (inFile !== undefined) return written[field]
    const value = environment.take(name)
    return value === undefined ? undefined : { value: value.text, origin: value.origin }
  }
  const id = take('accessKeyId', 'AWS_ACCESS_KEY_ID')
  const secret = take('secretAccessKey', 'AWS_SECRET_ACCESS_KEY')
  const token = take('sessionToken', 'AWS_SESSION_TOKEN')
  if ((id === undefined) !== (secret === undefined)) {
    const present = id ?? secret
    const absent = id === undefined ? 'access key id' : 'secret access key'
    throw new Failure('config-invalid', `cannot use the S3 credentials: ${present?.origin ?? 'one half'} is there, but the ${absent} is missing`, {
      hints: ['set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither to use a profile or role'],
    })
  }
  // As in the AWS tools, keys in the environment come before a profile.
  const profile = id === undefined ? take('profile', 'AWS_PROFILE') : inFile === undefined ? undefined : written.profile
  if (id !== undefined) environment.ignore('AWS_PROFILE', 'access keys are given, which come first')
  for (const [field, value] of Object.entries({ accessKeyId: id, secretAccessKey: secret, sessionToken: token, profile }))
    if (value !== undefined) record(field, value.origin)
  return {
    accessKeyId: id === undefined ? null : new Secret(id.value),
    secretAccessKey: secret === undefined ? null : new Secret(secret.value),
    sessionToken: token === undefined ? null : new Secret(token.value),
    profile: profile?.value ?? null,
  }
}

function checkEndpoint(endpoint: string, origin: string): void {
  const url = URL.parse(endpoint)
  const usable = url !== null && (url.protocol === 'http:' || url.protocol === 'https:') && url.username === '' && url.password === '' && url.search === ''
  if (!usable) {
    throw new Failure('config-invalid', `cannot use ${origin} as an S3 endpoint: expected http(s)://host:port without user, password and parameters`, {
      hints: ['for example https://minio.example.com:9000'],
    })
  }
}
