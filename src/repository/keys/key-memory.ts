import { randomBytes } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { z } from 'zod'
import { Failure, messageOf, systemCodeOf } from '../../kernel/failure.ts'

/** The newest ring that was seen of a repository. */
export interface SeenRing {
  readonly number: number
  /** `sha256:` of its bytes. */
  readonly sha256: string
}

/** What a host remembers, so that nobody can show it an older repository unnoticed. */
export interface KeyMemory {
  recall(repository: string): Promise<SeenRing | undefined>
  remember(repository: string, seen: SeenRing): Promise<void>
}

const schema = z.object({
  format: z.literal('tidemark-seen/1'),
  rings: z.record(z.string().regex(/^[0-9a-f]{32}$/), z.object({ number: z.number().int().positive(), sha256: z.string() })),
})

/** A memory in a file, which is replaced as a whole; it holds no secret. Throws `key-missing` when the file is there and cannot be used: forgetting would be too easy. */
export function fileMemory(path: string): KeyMemory {
  const read = async (): Promise<z.infer<typeof schema>> => {
    try {
      return schema.parse(JSON.parse(await readFile(path, 'utf8')))
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return { format: 'tidemark-seen/1', rings: {} }
      throw new Failure('key-missing', `cannot read ${path}, where this host remembers the newest keys that it saw: ${messageOf(error)}`, {
        cause: error,
        hints: ['if the file was damaged, remove it; the next backup writes it anew'],
      })
    }
  }
  return {
    recall: async (repository) => (await read()).rings[repository],
    remember: async (repository, seen) => {
      const { rings } = await read()
      const draft = `${path}.${randomBytes(4).toString('hex')}`
      await using file = await open(draft, 'wx', 0o600)
      await file.writeFile(`${JSON.stringify({ format: 'tidemark-seen/1', rings: { ...rings, [repository]: seen } }, null, 2)}\n`)
      await file.sync()
      await rename(draft, path)
    },
  }
}
