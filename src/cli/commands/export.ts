import { Command, Option } from 'commander'
import { collect, parseCount } from '../option-values.ts'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'

export interface ExportFlags extends GlobalFlags {
  to: string
  backup?: string
  format?: 'directory' | 'tar'
  compress?: string
  tablespaceMap?: string[]
  jobs?: number
  spaceCheck: boolean
  dryRun?: boolean
}

export function exportCommand(): Command {
  const command = new Command('export')
    .description("write a backup in PostgreSQL's own formats, so that nobody needs Tidemark to use it")
    .argument('[backup]', 'id, unique beginning of an id, name, "latest", or a cluster, whose latest is meant (default: latest)')
    .requiredOption('--to <place>', 'a directory that is empty or not there yet; of a dump in one file also the file')
    .option('--backup <id>', 'a backup, whatever it is called')
    .option('--cluster <name>', 'the cluster it belongs to')
    .addOption(
      new Option(
        '--format <format>',
        'of a base backup, as pg_basebackup writes it: a data directory (the default), or an archive of it, of each tablespace and of its WAL',
      ).choices(['directory', 'tar']),
    )
    .option('--compress <method>', 'of archives: zstd:1-19, gzip:1-9 or none (default: none)')
    .option(
      '--tablespace-map <old=new>',
      'where the tablespace OLD (its OID or path) goes; may be given several times (default: beside the directory)',
      collect,
    )
    .option('--jobs <n>', 'threads (default: one for each core, at most 8)', parseCount)
    .option('--no-space-check', 'go on although there seems to be too little room')
    .option('--dry-run', 'show the plan; write nothing')
    .addHelpText(
      'after',
      `
A base backup becomes what pg_basebackup --wal-method=stream leaves, with a backup_manifest, so pg_verifybackup can judge it, and a server of
the same version starts in the directory once it owns it. A dump becomes the file or directory that pg_dump wrote, with its .info and globals.
Every byte is checked on the way. What is written is not sealed, whatever the repository is.

Examples:
  tidemark export latest --to /srv/export && pg_verifybackup /srv/export
  tidemark export 20261121 --to /mnt/usb/monday --format tar --compress zstd:3
  tidemark export 20261121 --to /srv/export --tablespace-map 16401=/mnt/fast/ts1
  tidemark export shop_monday --to ./shop.dump.zst`,
    )
  return addRepositoryFlags(command).action(async (wanted: string | undefined, flags: ExportFlags) => {
    await runAction(flags, async (runtime) => (await import('../run-export.ts')).runExport(runtime, wanted, flags))
  })
}
