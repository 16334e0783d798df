import type { Context } from '../kernel/context.ts'
import { checkStoredDump } from '../repository/check-stored.ts'
import { filesOfRun, type Targets } from './store-target.ts'
import type { StoredDump } from './stored-dump.ts'

/** Reads every stored file again, from the storage, and holds bytes, structure and content against what was seen while dumping. */
export async function readBackStored(stored: StoredDump, format: 'custom' | 'plain' | 'directory', targets: Targets, context: Context): Promise<void> {
  await targets.each(async (target) => {
    const begunMs = context.clock.monotonicMs()
    const { storedBytes, files } = stored.in(target)
    context.emit({ type: 'step-begun', step: 'read-back', subject: target.repository.name, expectedBytes: storedBytes })
    const expected = {
      format,
      fileName: target.keys.fileName,
      files: [...files, ...target.companions],
      plainBytes: stored.plainBytes,
      fingerprint: stored.fingerprint,
    }
    const { readBytes } = await checkStoredDump(filesOfRun(target), expected, context)
    context.emit({
      type: 'step-ended',
      step: 'read-back',
      subject: target.repository.name,
      durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000,
      doneBytes: readBytes,
      note: 'bytes, structure and content equal',
    })
  })
}
