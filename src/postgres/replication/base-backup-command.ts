import { Failure } from '../../kernel/failure.ts'

export interface BaseBackupOptions {
  /** Of the server, 13 to 18. */
  readonly major: number
  /** Stands in backup_label and in the server's progress view. */
  readonly label: string
  /** Make the checkpoint at once instead of spread over minutes. */
  readonly fastCheckpoint: boolean
  /** KB per second, 32 to 1048576. */
  readonly maxRateKb?: number
  /** Let the server send its manifest. */
  readonly manifest: boolean
  /** Per file in the manifest. SHA256 halves the speed. */
  readonly manifestChecksums: 'NONE' | 'CRC32C' | 'SHA256'
  /** Let the server check the page checksums while it reads. */
  readonly verifyChecksums: boolean
  /** 17 and newer: only what changed since the manifest that `uploadManifest` sent on this connection. */
  readonly incremental: boolean
  /** Let the server find out the sizes of the tablespaces first, which takes a look at every file. */
  readonly progress: boolean
}

/**
 * The command in the dialect of the server: up to 14 bare words, from 15 on a list in parentheses; each rejects the other's. Tablespaces are always
 * listed in `tablespace_map` and never sent as links, which would lead a restored server to those of the source. WAL is never included: it is
 * received beside the backup, so the server need not wait for its archive either.
 */
export function baseBackupCommand(options: BaseBackupOptions): string {
  const { major, label, maxRateKb, manifest, manifestChecksums } = options
  if (/[\0\r\n]/.test(label)) throw new Failure('usage-invalid', 'the label of a base backup cannot hold a line break')
  if (options.incremental && major < 17)
    throw new Failure('usage-invalid', `PostgreSQL ${major} cannot make incremental base backups`, { hints: ['17 and newer can'] })
  const quotedLabel = `'${label.replaceAll("'", "''")}'`
  const given = (wanted: boolean, ...words: readonly string[]): readonly string[] => (wanted ? words : [])
  if (major < 15) {
    return [
      `BASE_BACKUP LABEL ${quotedLabel}`,
      ...given(options.progress, 'PROGRESS'),
      ...given(options.fastCheckpoint, 'FAST'),
      'NOWAIT',
      ...given(maxRateKb !== undefined, `MAX_RATE ${maxRateKb}`),
      'TABLESPACE_MAP',
      ...given(!options.verifyChecksums, 'NOVERIFY_CHECKSUMS'),
      ...given(manifest, `MANIFEST 'yes' MANIFEST_CHECKSUMS '${manifestChecksums}'`),
    ].join(' ')
  }
  return `BASE_BACKUP (${[
    `LABEL ${quotedLabel}`,
    `PROGRESS ${options.progress}`,
    `CHECKPOINT '${options.fastCheckpoint ? 'fast' : 'spread'}'`,
    'WAL false',
    'WAIT false',
    ...given(maxRateKb !== undefined, `MAX_RATE ${maxRateKb}`),
    'TABLESPACE_MAP true',
    `VERIFY_CHECKSUMS ${options.verifyChecksums}`,
    ...given(manifest, "MANIFEST 'yes'", `MANIFEST_CHECKSUMS '${manifestChecksums}'`),
    ...given(options.incremental, 'INCREMENTAL'),
  ].join(', ')})`
}
