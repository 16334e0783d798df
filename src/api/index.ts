import type { CreateBackupOptions, ListBackupsOptions, RestoreBackupOptions, ScopeOptions, Tidemark } from './contract.ts'
import { openTidemark } from './tidemark.ts'

export { openTidemark } from './tidemark.ts'
export type {
  AdoptFilesOptions,
  CallOptions,
  ChangeBackupOptions,
  CreateBackupOptions,
  CreateBackupsOptions,
  CreatedBackup,
  CreatedBackups,
  DeletePlans,
  DrillBackupOptions,
  Drilled,
  ExportBackupOptions,
  ExportedBackup,
  ListBackupsOptions,
  ListedBackup,
  OpenOptions,
  Outcome,
  Restored,
  RestoreBackupOptions,
  ScopeOptions,
  Tidemark,
  Verification,
} from './contract.ts'
export { Failure, isFailure, type FailureCode } from '../kernel/failure.ts'
export type { DescribedSetting } from '../config/describe.ts'
export type { Diagnosis } from './doctor/diagnose.ts'
export type { Finding } from './doctor/finding.ts'
export type { Event } from '../kernel/event.ts'
export type { Backup, BackupState, Problem } from '../repository/backup.ts'
export type { Proof } from '../drill/proof.ts'
export type { RestorePlan } from '../restore/restore-plan.ts'
export type { ExportPlan, ExportResult } from '../restore/export/export-request.ts'
export type { UndoPlan } from '../restore/undo-restore.ts'
export type { DeletePlan } from '../repository/delete-backup.ts'
export type { RestoreResult } from './restore-options.ts'
export type { AdoptOutcome } from './adopt-files.ts'
export type { InitializedRepository } from './init-repositories.ts'
export type { StorageTest } from './test-repositories.ts'

async function once<T>(work: (tide: Tidemark) => Promise<T>): Promise<T> {
  await using tide = await openTidemark()
  return await work(tide)
}

/** One call with the configuration of the process (`DATABASE_URL`, `BACKUP_DIR`, `tidemark.yaml` …), for one-liners. */
export const createBackup = (options?: CreateBackupOptions): ReturnType<Tidemark['createBackup']> => once((tide) => tide.createBackup(options))
export const listBackups = (options?: ListBackupsOptions): ReturnType<Tidemark['listBackups']> => once((tide) => tide.listBackups(options))
export const verifyBackup = (idOrPath?: string, options?: ScopeOptions): ReturnType<Tidemark['verifyBackup']> =>
  once((tide) => tide.verifyBackup(idOrPath, options))
export const restoreBackup = (idOrPath?: string, options?: RestoreBackupOptions): ReturnType<Tidemark['restoreBackup']> =>
  once((tide) => tide.restoreBackup(idOrPath, options))

// `require('tidemark').default` is how programs that had their own backup service call it.
// oxlint-disable-next-line import/no-default-export
export default { openTidemark, createBackup, listBackups, verifyBackup, restoreBackup }
