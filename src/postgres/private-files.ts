import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdtemp, open, rm, unlink } from 'node:fs/promises'
import { platform, tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Small files that a child program reads by path and nobody else can: mode 0600, gone afterwards. On Linux the file has no
 * name from the start: the child inherits its descriptor and opens `/proc/self/fd/N`, so even SIGKILL leaves nothing behind.
 */
export interface PrivateFiles extends AsyncDisposable {
  /** Adds a file and returns the path under which the child will find it. */
  add(content: string): Promise<string>
  /** Descriptors for the child's `stdio`, from index 3 on. */
  readonly descriptors: readonly number[]
}

export async function privateFiles(): Promise<PrivateFiles> {
  const nameless = platform() === 'linux'
  const directory = nameless ? tmpdir() : await mkdtemp(join(tmpdir(), 'tidemark-'))
  const handles: FileHandle[] = []
  return {
    get descriptors() {
      return handles.map((handle) => handle.fd)
    },
    async add(content) {
      const path = join(directory, `tidemark-${randomBytes(8).toString('hex')}`)
      const handle = await open(path, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR, 0o600)
      handles.push(handle)
      // Before anything is in it.
      if (nameless) await unlink(path)
      await handle.writeFile(content)
      return nameless ? `/proc/self/fd/${2 + handles.length}` : path
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(handles.map((handle) => handle.close()))
      if (!nameless) await rm(directory, { recursive: true, force: true })
    },
  }
}
