import { spawn } from 'node:child_process'

/** Bytes that do not compress to nothing and are the same in every run. */
export function sampleBytes(sizeBytes: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(sizeBytes)
  let state = seed * 2_654_435_761 || 1
  for (let index = 0; index < sizeBytes; index++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[index] = 97 + ((state >>> 0) % 13)
  }
  return bytes
}

/** The bytes, cut into chunks of the given sizes in turn. */
export async function* chunked(bytes: Uint8Array, ...sizes: number[]): AsyncGenerator<Uint8Array, void, undefined> {
  let turn = 0
  for (let offset = 0; offset < bytes.length;) {
    const size = sizes[turn++ % sizes.length] ?? bytes.length
    yield bytes.subarray(offset, offset + size)
    offset += size
  }
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** The error that reading `source` to its end throws; undefined when it ends well. */
export async function errorOf(source: AsyncIterable<unknown>): Promise<unknown> {
  try {
    for await (const _ of source);
    return undefined
  } catch (error) {
    return error
  }
}

/** Runs a stock program as a judge, with `input` on its standard input. */
export async function judge(program: string, args: readonly string[], input: Uint8Array): Promise<{ code: number | null; stdout: Buffer; stderr: string }> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  child.stdin.on('error', () => undefined) // a judge may refuse before it has read everything
  child.stdin.end(input)
  const [stdout, stderr, code] = await Promise.all([
    collect(child.stdout),
    collect(child.stderr),
    new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve)),
  ])
  return { code, stdout, stderr: stderr.toString() }
}
