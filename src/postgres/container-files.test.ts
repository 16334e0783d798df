import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { bringFiles } from './container-files.ts'

it('a container that sends more than it had in its list fills no disk: nothing is written beyond the size that room was looked for', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-lying-container-'))
  try {
    const [there, here, program] = [join(directory, 'there'), join(directory, 'here'), join(directory, 'docker')]
    await mkdir(there)
    await mkdir(here)
    await writeFile(join(there, 'toc.dat'), Buffer.alloc(32 * 1024 * 1024))
    await writeFile(program, `#!/bin/sh\nexec tar -cf - -C '${there}' .\n`)
    await chmod(program, 0o755)
    const access = {
      container: { kind: 'container', name: 'db' },
      docker: { program, environment: { PATH: process.env['PATH'] } },
      password: 'not-needed',
    } as const
    const files = [{ name: 'toc.dat', sizeBytes: 1024 * 1024, sha256: '0'.repeat(64) }]
    const brought = bringFiles(access, { directory: '/tmp/dump', files }, here, { signal: new AbortController().signal })
    await expect(brought).rejects.toThrow('toc.dat has more than the 1048576 bytes that it had in the list')
    expect((await stat(join(here, 'toc.dat'))).size).toBeLessThanOrEqual(1024 * 1024)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
