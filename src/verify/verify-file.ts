import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import type { Context } from '../kernel/context.ts'
import { Failure, isFailure } from '../kernel/failure.ts'
import { readForeignDump } from '../dump/foreign-dump.ts'
import type { VerifiedBackup } from './verify-backup.ts'

/** Verifies a dump file on disk, whoever made it: decoded to its end and structurally complete. There is no record to compare its content with. */
export async function verifyFile(cwd: string, path: string, context: Context): Promise<VerifiedBackup> {
  const file = await realpath(resolve(cwd, path))
  const { size } = await stat(file)
  const begunMs = context.clock.monotonicMs()
  context.emit({ type: 'step-begun', step: 'read-back', subject: basename(file), expectedBytes: size })
  const hash = createHash('sha256')
  const id = path
  try {
    const stored = async function* () {
      for await (const chunk of createReadStream(file, { highWaterMark: 256 * 1024, signal: context.signal }) as AsyncIterable<Buffer>) {
        hash.update(chunk)
        yield chunk
      }
    }
    const { content } = await readForeignDump(stored(), { fileName: basename(file), signal: context.signal })
    context.emit({ type: 'step-ended', step: 'read-back', subject: basename(file), durationSeconds: (context.clock.monotonicMs() - begunMs) / 1000, doneBytes: size })
    return { id, valid: true, state: 'verified', problems: [], checksum: `sha256:${hash.digest('hex')}`, readBytes: size, tables: content.tables }
  } catch (error) {
    if (!(error instanceof Failure) || !isFailure(error, 'integrity', 'dump-empty')) throw error
    return { id, valid: false, state: 'damaged', problems: [{ code: error.code, object: file, message: error.message }], checksum: '', readBytes: size, tables: [] }
  }
}
