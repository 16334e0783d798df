import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { isFailure } from '../../kernel/failure.ts'
import { controlFilePath, parseControlFile, type ControlFile } from '../../pgdata/control-file.ts'
import { pathBytes } from '../../pgdata/file-path.ts'
import { sourceUnreadable } from './source-unreadable.ts'

/** The server writes its 8 KiB at once, but a reader may see half of that. */
const attempts = 20
const pauseMs = 25

/** `global/pg_control` of a running server, whole: read again while its checksum is wrong. Rejects with `source-unreadable`, and with `integrity` where it stays wrong. */
export async function readControlFile(root: string): Promise<{ readonly bytes: Buffer; readonly control: ControlFile }> {
  for (let attempt = 1; ; attempt += 1) {
    const bytes = await readFile(pathBytes(`${root}/${controlFilePath}`)).catch((error: unknown) => {
      throw sourceUnreadable(controlFilePath, error)
    })
    try {
      return { bytes, control: parseControlFile(bytes) }
    } catch (error) {
      if (!isFailure(error, 'integrity') || attempt === attempts) throw error
      await delay(pauseMs)
    }
  }
}
