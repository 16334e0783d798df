import { isAbsolute, resolve } from 'node:path'
import { Failure } from '../kernel/failure.ts'

export interface PathBase {
  /** What `~` and `$HOME` stand for; null when the machine names no home directory. */
  readonly home: string | null
  /** What a relative path is relative to. */
  readonly directory: string
}

/**
 * An absolute path of what a person wrote: `~`, `$HOME` and `${HOME}` at the start, relative paths, absolute ones.
 * Any other `$NAME` is refused: it would become a directory of that very name and nobody would look for backups there.
 */
export function parsePath(text: string, base: PathBase): string {
  const path = text.trim()
  if (path === '') throw new Failure('config-invalid', 'expected a path, found nothing')
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(path)) throw new Failure('config-invalid', 'a path cannot contain control characters or line ends')
  const expanded = path.replace(/^(?:~|\$HOME|\$\{HOME\})(?=\/|$)/, () => {
    if (base.home === null) throw new Failure('config-invalid', 'the path begins with the home directory, but HOME is not set')
    return base.home
  })
  if (expanded.startsWith('~')) throw new Failure('config-invalid', "a path of the form ~user is not understood; write the directory's full path")
  if (/\$(?:\{|[A-Za-z_])/.test(expanded)) {
    throw new Failure('config-invalid', 'the path contains a $ that nothing replaced: only ~ and $HOME work here, ${NAME} in an .env file')
  }
  return isAbsolute(expanded) ? resolve(expanded) : resolve(base.directory, expanded)
}
