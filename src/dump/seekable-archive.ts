import { createReadStream } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { Failure } from '../kernel/failure.ts'
import type { BlockOffsets } from './archive-scan.ts'
import { offsetIsSet, readToc, type ArchiveToc, type TocEntry } from './archive-toc.ts'

/**
 * Writes into the table of contents of an archive that came through a pipe where each entry's data begins. pg_dump cannot go back and do that
 * itself, and without it each job of a parallel pg_restore reads the archive row by row until it meets its table. The file must be ours alone. Rejects (`integrity`) when an offset
 * does not lead to the block of its entry.
 */
export async function makeSeekable(path: string, blockOffsets: BlockOffsets): Promise<void> {
  if (blockOffsets.length === 0) return
  const offsets = new Map(blockOffsets)
  const toc = await readToc(createReadStream(path, { highWaterMark: 256 * 1024 }), { definitions: 'needed' })
  await using file = await open(path, 'r+')
  for (const entry of toc.entries) {
    const offset = offsets.get(entry.dumpId)
    if (offset === undefined || entry.dataOffsetAt === null || !entry.hadData || entry.dataOffset !== null) continue
    await requireBlock(file, toc, entry, offset)
    const field = Buffer.alloc(1 + toc.offsetSize)
    field[0] = offsetIsSet
    field.writeUIntLE(offset, 1, Math.min(6, toc.offsetSize))
    await file.write(field, 0, field.length, entry.dataOffsetAt)
  }
}

/** An offset that does not lead to the entry's own block would make pg_restore fail with words that help nobody. */
async function requireBlock(file: FileHandle, { intSize }: ArchiveToc, entry: TocEntry, offset: number): Promise<void> {
  const head = Buffer.alloc(2 + intSize)
  const { bytesRead } = await file.read(head, 0, head.length, offset)
  const isOurs = bytesRead === head.length && head[1] === 0 && head.readUIntLE(2, Math.min(6, intSize)) === entry.dumpId
  if (!isOurs) throw new Failure('integrity', `the manifest says that the data of "${entry.tag}" begins at byte ${offset}, and it does not`)
}
