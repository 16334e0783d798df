import { Command, Option } from 'commander'
import { collect, parseCount } from '../option-values.ts'
import { addRepositoryFlags, runAction, type GlobalFlags } from '../runtime.ts'

export interface RestoreFlags extends GlobalFlags {
  as?: string
  test?: boolean
  drop?: boolean
  latest?: boolean
  replace?: boolean
  replaceDrop?: boolean
  dropExisting?: boolean
  clean?: boolean
  table?: string[]
  dataOnly?: boolean
  truncate?: boolean
  append?: boolean
  server?: string
  file?: string
  backup?: string
  to?: string
  into?: string
  jobs?: number
  /** A name: whom the files of a base backup are given to. False: --no-owner. */
  owner: boolean | string
  delta?: boolean
  start?: boolean
  port?: number
  tablespaceMap?: string[]
  privileges: boolean
  roleMap?: string[]
  runSql?: string
  before?: string
  after?: string
  healthUrl?: string
  healthTimeout?: string
  safetyBackup: boolean
  spaceCheck: boolean
  validate?: 'content' | 'rows' | 'none'
  verify: boolean
  dryRun?: boolean
  yes?: boolean
}

export function restoreCommand(): Command {
  const command = new Command('restore')
    .description('restore a dump to a database (beside the original by default, in its place with --replace), or a base backup to a directory (--into)')
    .argument('[backup]', 'backup (id, name, "latest") or a dump file; default: latest')
    .option('--cluster <name>', 'the cluster it belongs to and is restored on')
    .option('--backup <id>', 'a backup, whatever it is called')
    .option('--file <path>', 'a dump file, whatever it is called')
    .option('-d, --as <database>', 'name of the restored database (default: <database>_restore_<time>)')
    .option('--test', 'restore into <database>_restore_test and validate it')
    .option('--drop', 'with --test: drop it again after validation')
    .option('--replace', 'replace the original: safety backup, restore beside, validate, swap by rename; --replace=drop where there is no room for both')
    .addOption(new Option('--latest', 'the newest backup, which is the default').hideHelp())
    .addOption(new Option('--replace-drop', 'what --replace=drop means').hideHelp())
    .option('-D, --drop-existing', 'drop the database named by --as first')
    .option('--clean', "drop the backup's objects in an existing database first")
    .option(
      '--table <name>',
      'only this table (its name, not a pattern as of backup), with its indexes, constraints and sequences; may be given several times',
      collect,
    )
    .option('--data-only', 'rows only, into existing tables')
    .option('--truncate', 'with --data-only: empty the tables first')
    .option('--append', 'with --data-only: add to what is there')
    .option('--server <url>', 'restore on this server instead (a URL, or env:NAME of a variable that holds it)')
    .option('--jobs <n>', 'parallel restore workers', parseCount)
    .option('--owner <account>', 'with --into: the account that the files are given to (as root; default: postgres)')
    .option('--no-owner', 'of a dump: everything belongs to the restoring role')
    .option('--no-privileges', 'leave GRANT and REVOKE out')
    .option('--role-map <old=new>', 'what the dump gives to role OLD goes to NEW: owners, grants, policies; may be given several times', collect)
    .option('--run-sql <file>', 'run this SQL in the restored database before it is handed over')
    .option('--before <command>', 'command to run first (words and quotes, but no shell); a failure stops everything')
    .option('--after <command>', 'command to run at the end, also after a failure')
    .option('--health-url <url>', 'wait until this URL answers with success')
    .option('--health-timeout <duration>', 'how long to wait for it', '120s')
    .option('--no-safety-backup', 'with --replace: go on without a safety backup (the old database is kept by rename)')
    .option('--no-space-check', 'go on although the server seems to have too little room (the source may have held many dead rows)')
    .addOption(new Option('--validate <how>', 'compare content, count rows, or nothing').choices(['content', 'rows', 'none']))
    .option('--no-verify', 'with --dry-run: do not read the backup')
    .option('--into <directory>', 'restore a base backup to this directory, which is empty or not there yet')
    .option('--delta', 'with --into: the directory holds an older state, or half of a restore; fetch only what differs, and remove what does not belong there')
    .option('--start', 'with --into: start a server in the directory, and say how to connect')
    .option('--port <n>', 'with --start: the port (default: a free one)', parseCount)
    .option(
      '--tablespace-map <old=new>',
      'with --into: where the tablespace OLD (its OID or path) goes; may be given several times (default: beside the directory)',
      collect,
    )
    .option('--to <moment>', 'point-in-time recovery (needs archived WAL, which comes with a later version)')
    .option('--dry-run', 'show the plan, read and decode the whole backup, change nothing')
    .option('-y, --yes', 'do not ask')
    .addOption(new Option('-f, --force', 'same as --yes').hideHelp())
    .addHelpText(
      'after',
      `
Examples:
  tidemark restore                                   newest backup, into a new database beside the original
  tidemark restore latest --test                     into <database>_restore_test, validated
  tidemark restore 20261121 --as shop_monday
  tidemark restore latest --replace                  asks; safety backup first; "tidemark undo" puts it back
  tidemark restore latest --replace --yes            emergency, no questions
  tidemark restore latest --table orders --as scratch
  tidemark restore ./old/shop_20241201.sql.gz --as shop_old
  tidemark restore --into /srv/restored              newest base backup, to a directory
  tidemark restore 20261121 --into /srv/restored --start`,
    )
  return addRepositoryFlags(command).action(async (wanted: string | undefined, flags: RestoreFlags & { force?: boolean }) => {
    await runAction(flags, async (runtime) => {
      const options = { ...flags, yes: flags.yes === true || flags.force === true }
      if (flags.into === undefined) await (await import('../run-restore.ts')).runRestore(runtime, wanted, options)
      else await (await import('../run-restore-directory.ts')).runRestoreDirectory(runtime, wanted, { ...options, into: flags.into })
    })
  })
}
