import { posixStorage } from '../../src/storage/posix.ts'

// A process of its own for tests that watch or break its system calls: posix-put.ts ROOT KEY BYTES [if-absent]
const [root = '', key = '', bytes = '0', ifAbsent] = process.argv.slice(2)
const storage = posixStorage({ root })
try {
  const stored = await storage.put(key, Buffer.alloc(Number(bytes), 'x'), { ifAbsent: ifAbsent === 'if-absent' })
  process.stdout.write(`stored ${stored.sizeBytes}\n`)
} catch (error) {
  process.stdout.write(`refused ${error instanceof Error && 'code' in error ? String(error.code) : 'bug'}: ${error instanceof Error ? error.message : ''}\n`)
}
