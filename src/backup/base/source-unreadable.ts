import { Failure, messageOf, systemCodeOf } from '../../kernel/failure.ts'
import { readablePath } from '../../pgdata/file-path.ts'

/** A file or directory of the source that the system does not let us read: the backup ends, for it would lack it. `path` is relative to the data directory. */
export function sourceUnreadable(path: string, cause: unknown): Failure {
  const isDenied = ['EACCES', 'EPERM'].includes(systemCodeOf(cause) ?? '')
  return new Failure('source-unreadable', `cannot read ${readablePath(path)} of the server's data directory: ${messageOf(cause)}`, {
    cause,
    hints: [...(isDenied ? ['run Tidemark as the owner of the data directory'] : []), 'let the server read its files itself: tidemark backup --reader stream'],
    details: { path: readablePath(path) },
  })
}
