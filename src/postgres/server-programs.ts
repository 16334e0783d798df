import { access } from 'node:fs/promises'
import { delimiter, isAbsolute, join } from 'node:path'
import { packagedDirectories, type ToolSearch } from './client-tools.ts'
import { runProgram } from './run-program.ts'

/** The directory of this machine's server programs of a major version; null when there are none. */
export async function findServerPrograms(major: number, { path, extraDirs = [], signal }: ToolSearch): Promise<string | null> {
  for (const directory of [...extraDirs, ...path.split(delimiter).filter(isAbsolute), ...(await packagedDirectories())]) {
    const program = join(directory, 'postgres')
    const isThere = await access(program).then(
      () => true,
      () => false,
    )
    if (!isThere) continue
    const { stdout } = await runProgram(program, ['--version'], { environment: { LC_ALL: 'C' }, cwd: '/', ...(signal === undefined ? {} : { signal }) })
    if (new RegExp(`\\(PostgreSQL\\) ${major}(\\.|beta|rc|devel)`).test(stdout)) return directory
  }
  return null
}
