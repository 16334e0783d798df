import { formatConnectionUrl, parseConnectionUrl } from '../../postgres/connection-url.ts'

/** The flags without which the printed command would be about something else. */
export interface GivenFlags {
  readonly config?: string
  readonly envFile?: string
  readonly repo?: readonly string[]
  readonly server?: string
  readonly kit?: string
  readonly identity?: readonly string[]
  readonly passphraseFile?: string
  readonly root?: string
}

/** `tidemark undo 2026… --server env:OTHER`: a command to type next, with the flags that led here. A password in a URL is left out. */
export function nextCommand(words: readonly string[], flags: GivenFlags): string {
  const given = [
    ...(flags.config === undefined ? [] : ['--config', flags.config]),
    ...(flags.envFile === undefined ? [] : ['--env-file', flags.envFile]),
    ...(flags.repo ?? []).flatMap((name) => ['--repo', name]),
    ...(flags.kit === undefined ? [] : ['--kit', flags.kit]),
    ...(flags.identity ?? []).flatMap((file) => ['--identity', file]),
    ...(flags.passphraseFile === undefined ? [] : ['--passphrase-file', flags.passphraseFile]),
    ...(flags.root === undefined ? [] : ['--root', flags.root]),
    ...(flags.server === undefined ? [] : ['--server', withoutPassword(flags.server)]),
  ]
  return ['tidemark', ...words, ...given].map(asWord).join(' ')
}

function withoutPassword(server: string): string {
  return server.startsWith('env:') ? server : formatConnectionUrl({ ...parseConnectionUrl(server), password: null })
}

/** A URL of a result as psql takes it: with `***` it would be sent as the password. */
export function withoutMask(connection: string): string {
  return connection.replace(/:\*\*\*@/, '@')
}

/** A word of a shell's command line. */
export function asWord(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
