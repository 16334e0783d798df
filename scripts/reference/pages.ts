import { cliPage } from './cli.ts'
import { referenceFiles } from './configuration.ts'
import { eventsPage } from './events.ts'
import { failuresPage } from './failures.ts'
import { jsonPage } from './json.ts'

/** Every generated page of docs/reference, by file name. */
export function referencePages(): Readonly<Record<string, string>> {
  return { ...referenceFiles(), 'cli.md': cliPage(), 'events.md': eventsPage(), 'failures.md': failuresPage(), 'json.md': jsonPage() }
}
