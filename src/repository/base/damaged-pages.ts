import { Failure } from '../../kernel/failure.ts'
import { readablePath } from '../../pgdata/file-path.ts'
import type { PackProblem } from './frame-workers.ts'
import type { OpenBaseBackup } from './open-base-backup.ts'

/** What a verb that needs every page fails with at the first that is not the one that was backed up. */
export function damagedPages({ root }: Pick<OpenBaseBackup, 'root'>, { code, object, path, message }: PackProblem, hints: readonly string[] = []): Failure {
  return new Failure(code, `backup ${root.backup.id} is damaged: ${path === null ? '' : `${readablePath(path)}: `}${message}`, {
    hints: ['see what else is damaged, and which backup is whole: tidemark verify --all', ...hints],
    details: { object, backup: root.backup.id },
  })
}
