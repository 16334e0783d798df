import { createProgram } from './program.ts'

// `--replace=drop` has a value and `--replace` has none, so that `restore --replace latest` means what it says.
const words = process.argv.map((word) => (word === '--replace=drop' ? '--replace-drop' : word === '--replace=swap' ? '--replace' : word))
await createProgram().parseAsync(words)
