import { open, readdir } from 'node:fs/promises'
import type { Context } from '../../kernel/context.ts'
import { Failure, isFailure } from '../../kernel/failure.ts'
import { runProgram } from '../../postgres/run-program.ts'

/**
 * Waits until everything below these directories is durable. `sync -f` asks the kernel once for each file system (syncfs, which reports errors of writing since Linux 5.8); where there is none, every file and
 * directory is synced by itself, which takes as long as the disk needs for each.
 */
export async function makeDurable(directories: readonly string[], context: Context): Promise<void> {
  for (const directory of directories) {
    try {
      const { exitCode, stderr } = await runProgram('/usr/bin/sync', ['-f', directory], { environment: {}, cwd: '/', signal: context.signal })
      if (exitCode === 0) continue
      throw new Failure('storage-failed', `what was restored could not be made durable: ${stderr.trim()}`)
    } catch (error) {
      if (!isFailure(error, 'tool-missing')) throw error
      await syncTree(Buffer.from(directory), context)
    }
  }
}

async function syncTree(directory: Buffer, context: Context): Promise<void> {
  for (const found of await readdir(directory, { withFileTypes: true, encoding: 'buffer' })) {
    context.signal.throwIfAborted()
    const path = Buffer.concat([directory, Buffer.from('/'), found.name])
    if (found.isDirectory()) await syncTree(path, context)
    else if (found.isFile()) {
      await using file = await open(path, 'r')
      await file.sync()
    }
  }
  await using handle = await open(directory, 'r')
  await handle.sync()
}
