import { Command, Option } from 'commander'
import { addGlobalFlags, runAction, type GlobalFlags } from '../runtime.ts'

export interface InitFlags extends GlobalFlags {
  url?: string
  name?: string
  container?: string
  repoPath?: string
  s3?: string
  s3Endpoint?: string
  s3Region?: string
  profile?: 'development' | 'staging' | 'production'
  output: string
  force?: boolean
  encrypt?: boolean
  kitStored?: boolean
  firstBackup?: boolean
  yes?: boolean
  nonInteractive?: boolean
  dryRun?: boolean
}

export function initCommand(): Command {
  const command = new Command('init')
    .description('set up: try server, role and storage, write tidemark.yaml, create the repository, offer the first backup')
    .option('--url <url>', 'the database: a connection URL, env:NAME or file:PATH (default: DATABASE_URL and the like)')
    .option('--name <name>', 'name of the cluster (default: the database)')
    .option('--container <name>', 'run the client programs in this container')
    .option('--repo-path <directory>', 'keep backups in this directory (default: ./backups)')
    .option('--s3 <place>', 'keep backups in s3://bucket/prefix')
    .option('--s3-endpoint <url>', 'of an S3-compatible store')
    .option('--s3-region <region>', 'of the bucket')
    .addOption(new Option('--profile <profile>', 'schedule and retention to write down').choices(['development', 'staging', 'production']))
    .option('--output <file>', 'the configuration file', 'tidemark.yaml')
    .option('--force', 'replace an existing file')
    .option('--encrypt', 'seal the backups: make the recovery kit, the key of this host and the keyring, as tidemark key init does')
    .option('--no-encrypt', 'leave them in clear, on purpose')
    .option('--kit <file>', 'with --encrypt: where the recovery kit is written (default: tidemark-recovery-kit-<host>.txt here)')
    .option('--kit-stored', 'with --encrypt: the recovery kit is stored where it is safe (instead of the question)')
    .option('--first-backup', 'take the first backup without asking')
    .option('--no-first-backup', 'do not take it')
    .option('-y, --yes', 'ask nothing: take flags and defaults, the first backup included')
    .option('--non-interactive', 'ask nothing; the first backup only with --first-backup')
    .option('--dry-run', 'try everything that needs no writing, show the file, write nothing')
    .addHelpText(
      'after',
      `
A password never gets into tidemark.yaml: it stays in DATABASE_URL, or goes into a file of its own (mode 0600).

Examples:
  tidemark init
  tidemark init --url env:DATABASE_URL --repo-path /srv/backups --profile production --yes
  tidemark init --encrypt --kit /media/usb/kit.txt --kit-stored --non-interactive
  tidemark init --s3 s3://acme-pg/nexo --s3-region eu-central-1 --dry-run`,
    )
  return addGlobalFlags(command).action(async (flags: InitFlags) => {
    await runAction(flags, async (runtime) => {
      const { runInit } = await import('../run-init.ts')
      await runInit(runtime, flags)
    })
  })
}
