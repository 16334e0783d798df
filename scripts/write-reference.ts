import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { referencePages } from './reference/pages.ts'

/** Rewrites the generated pages of docs/reference: `make reference`. */
const directory = join(import.meta.dirname, '..', 'docs', 'reference')
await mkdir(directory, { recursive: true })
for (const [name, content] of Object.entries(referencePages())) await writeFile(join(directory, name), content)
