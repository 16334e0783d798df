import { join } from 'node:path'
import { writeReference } from '../src/config/reference.ts'

/** Rewrites the generated pages of docs/reference: `node scripts/write-reference.ts`. */
await writeReference(join(import.meta.dirname, '..', 'docs', 'reference'))
