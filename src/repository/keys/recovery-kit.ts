import { Secret } from '../../kernel/secret.ts'
import { formatAgeIdentity } from '../../seal/age-keys.ts'
import { formatSigningKey } from '../../seal/signing.ts'
import type { RecoveryKit } from './key-file.ts'

/** A repository that a kit opens, for the person who reads it. */
export interface KitRepository {
  readonly id: string
  /** A path or `s3://bucket/prefix`; never with credentials. */
  readonly location: string
  /** What else must be set to reach it: `AWS_REGION`, `AWS_ENDPOINT_URL_S3`. */
  readonly variables?: Readonly<Record<string, string>>
}

/**
 * The page that is printed and locked away. It is an identity file of age, too: every line but one is a comment.
 * `date` is a calendar day.
 */
export function formatRecoveryKit(
  { rootKey, identity }: RecoveryKit,
  { repositories, date }: { repositories: readonly KitRepository[]; date: string },
): Secret {
  const place = repositories[0]?.location ?? 'REPOSITORY'
  const variables = Object.entries(repositories[0]?.variables ?? { AWS_REGION: '…' }).map(([name, value]) => ` ${name}=${value}`)
  const others = repositories.slice(1).map(({ location }) => `   or, the same in:  tidemark list --repo ${location} --kit THIS_FILE`)
  const page = [
    'Tidemark recovery kit',
    '',
    'With this page and the repository alone, every backup in it can be restored, on any machine. Whoever has both can read',
    'everything; who has neither this page nor another key can read nothing, and nobody can help. Print it. Keep it in two',
    'places, neither of them a machine that is backed up or does backups.',
    '',
    `date: ${date}`,
    ...repositories.map(({ id, location }) => `repository: ${id} ${location}`),
    `root: ${rootKey.verifyKey.text}`,
    '',
    'RESTORE WITH TIDEMARK',
    '',
    '1. On a machine with Node 20 or newer:  npm install -g tidemark',
    `2. For a repository on S3, its credentials:  export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…${variables.join('')}`,
    '   They are not on this page; whoever owns the bucket can make new ones.',
    `3. What there is:   tidemark list --repo ${place} --kit THIS_FILE`,
    ...others,
    '4. A dump, to a server:  export SERVER_URL=postgres://USER:PASSWORD@HOST/postgres',
    `                    tidemark restore BACKUP --repo ${place} --kit THIS_FILE --server env:SERVER_URL`,
    `5. A base backup:   tidemark restore BACKUP --repo ${place} --kit THIS_FILE --into DIRECTORY --start`,
    '',
    'RESTORE A DUMP WITHOUT TIDEMARK',
    '',
    'The files outside of .tidemark are dumps, sealed with age (https://age-encryption.org, package "age" everywhere). With this file:',
    '   age -d -i THIS_FILE NAME.dump.zst.age | zstd -d | pg_restore --create --dbname postgres',
    '   age -d -i THIS_FILE NAME.sql.gz.age | gzip -d | psql --dbname EMPTY_DATABASE',
    'The keys of base backups open in the same way: age -d -i THIS_FILE .tidemark/keys/rings/NUMBER.age. The formats are in the',
    'documentation of Tidemark (docs/keys.md, docs/base-backups.md), byte for byte.',
    '',
    'TYPED FROM PAPER, the two secrets below are enough; typing errors are noticed.',
    '',
    `root key: ${formatSigningKey(rootKey).reveal()}`,
  ]
  return new Secret([...page.map((line) => (line === '' ? '#' : `# ${line}`)), formatAgeIdentity(identity).reveal(), ''].join('\n'))
}
