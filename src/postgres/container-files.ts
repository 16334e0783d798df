import { spawn } from 'node:child_process'
import { createHash, type Hash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Failure, isOutOfSpace, messageOf, systemCodeOf } from '../kernel/failure.ts'
import { BrokenTar } from '../stream/tar-header.ts'
import { callInContainer, type ContainerAccess, containerFailure, nameOfContainer } from './container.ts'
import { notStarted, runProgram } from './run-program.ts'
import { isPlainName, readTar, type TarFile, writeTar } from './tar-format.ts'

/*
 * Files to and from a container, through `docker exec … tar`. (`docker cp` would need no tar inside, but does not see what lies on a tmpfs.)
 *
 * Neither the exit code nor the end of a stream is proof of anything here. When `docker exec` ends early (its daemon is restarted, a connection to
 * a remote engine breaks, somebody kills it), that looks to a program inside like the end of its input and to us like the end of its output; a tar
 * stream that is cut between two files unpacks without an error. So what is believed is counted and digested on both sides: every file's size and SHA-256,
 * taken inside by programs that read the file itself, must be those of the bytes that we read or sent. Even the list that says so could be cut,
 * so it ends with something that only a whole list ends with.
 */

export interface ContainerFile {
  readonly name: string
  readonly sizeBytes: number
  /** Hex. */
  readonly sha256: string
}

/** The plain files directly in a directory of the container. Rejects unless every one of them was listed and read to its end there. */
export async function listContainerFiles(access: ContainerAccess, directory: string, signal?: AbortSignal): Promise<readonly ContainerFile[]> {
  const sizes = parseSizes(await output(access, ['find', directory, '-depth', '-exec', 'stat', '-c', '%f %s %n', '{}', '+'], signal), directory, access)
  const digests = new Map<string, string>()
  for (const line of sizes.size === 0 ? [] : await output(access, ['find', directory, '-type', 'f', '-exec', 'sha256sum', '{}', '+'], signal)) {
    const [, sha256 = '', path = ''] = /^([0-9a-f]{64}) [ *](.+)$/.exec(line) ?? []
    digests.set(nameIn(directory, path), sha256)
  }
  return [...sizes].map(([name, sizeBytes]) => {
    const sha256 = digests.get(name)
    if (sha256 === undefined) throw lost(access, `the digest of ${name} did not arrive`)
    return { name, sizeBytes, sha256 }
  })
}

/** Lines of mode (hex), size and path. With `-depth` the directory itself comes last: where it does not, the list was cut. */
function parseSizes(lines: readonly string[], directory: string, access: ContainerAccess): Map<string, number> {
  const sizes = new Map<string, number>()
  for (const [index, line] of lines.entries()) {
    const [, mode = '', size = '', path = ''] = /^([0-9a-f]+) (\d+) (.+)$/.exec(line) ?? []
    const kind = Number.parseInt(mode, 16) & 0o170000
    if (index === lines.length - 1 && path === directory && kind === 0o040000) return sizes
    const name = nameIn(directory, path)
    if (kind !== 0o100000 || !isPlainName(name)) throw lost(access, `${directory} holds something that nobody should have put there: ${line.slice(0, 200)}`)
    sizes.set(name, Number(size))
  }
  throw lost(access, `the list of files in ${directory} was cut`)
}

function nameIn(directory: string, path: string): string {
  return path.startsWith(`${directory}/`) ? path.slice(directory.length + 1) : ''
}

export interface CopyOptions {
  readonly signal: AbortSignal
  /** Told after every chunk. */
  readonly onBytes?: (count: number) => void
}

/** Copies files out of a directory of the container into one of ours. Resolves only when each arrived with the size and digest that it has there. */
export async function bringFiles(
  access: ContainerAccess,
  from: { readonly directory: string; readonly files: readonly ContainerFile[] },
  into: string,
  options: CopyOptions,
): Promise<void> {
  const expected = new Map(from.files.map((file) => [file.name, file]))
  await using tar = await startTar(access, ['-cf', '-', '-C', from.directory, '.'], false, options.signal)
  await tar.during(
    readTar(tar.stdout, async ({ name, body }) => {
      const file = expected.get(name)
      if (file === undefined) throw lost(access, `${name} is in the stream and not in the list of files`)
      expected.delete(name)
      const tooLong = () => lost(access, `${name} has more than the ${file.sizeBytes} bytes that it had in the list`)
      const taken = await write(body, join(into, name), { ...options, limitBytes: file.sizeBytes, tooLong })
      if (taken.sizeBytes !== file.sizeBytes || taken.sha256 !== file.sha256)
        throw lost(access, `${name} arrived with ${taken.sizeBytes} bytes${taken.sizeBytes === file.sizeBytes ? ' of other content' : ` of ${file.sizeBytes}`}`)
    }),
  )
  await tar.requireSuccess()
  const [missing] = expected.keys()
  if (missing !== undefined) throw lost(access, `${missing}${expected.size > 1 ? ` and ${expected.size - 1} more` : ''} did not arrive`)
}

/** A file of ours, or its content, and what it is to be called in the container. */
export type SentFile = { readonly name: string; readonly path: string } | { readonly name: string; readonly content: string }

/** Copies files into a directory of the container that holds nothing else. Resolves only when they are there with the sizes and digests of what was sent. */
export async function sendFiles(access: ContainerAccess, files: readonly SentFile[], directory: string, options: CopyOptions): Promise<void> {
  const sent = new Map<string, { readonly digest: Hash; readonly sizeBytes: number }>()
  const bodies = async function* (): AsyncGenerator<TarFile> {
    for (const file of files) {
      const digest = createHash('sha256')
      const content = 'content' in file ? Buffer.from(file.content) : null
      const sizeBytes = content?.length ?? (await stat('path' in file ? file.path : '')).size
      const source = content === null && 'path' in file ? createReadStream(file.path, { highWaterMark: 1024 * 1024 }) : [content ?? Buffer.alloc(0)]
      sent.set(file.name, { digest, sizeBytes })
      yield { name: file.name, sizeBytes, body: digested(source, digest, options) }
    }
  }
  // -o: the files belong to whoever we are there, and not to the numbers in the headers.
  await using tar = await startTar(access, ['-xof', '-', '-C', directory], true, options.signal)
  const { stdin } = tar
  if (stdin === null) throw new Error('tar was started without an input')
  tar.stdout.resume()
  await tar.during(pipeline(Readable.from(writeTar(bodies()), { objectMode: false }), stdin))
  await tar.requireSuccess()
  const there = new Map((await listContainerFiles(access, directory, options.signal)).map((file) => [file.name, file]))
  for (const { name } of files) {
    const found = there.get(name)
    const mine = sent.get(name)
    if (found === undefined || mine === undefined) throw lost(access, `${name} is not there`)
    if (found.sizeBytes !== mine.sizeBytes) throw lost(access, `${name} has ${found.sizeBytes} bytes there, of ${mine.sizeBytes}`)
    if (found.sha256 !== mine.digest.digest('hex')) throw lost(access, `${name} has other content there`)
  }
}

async function* digested(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, digest: Hash, options: CopyOptions): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    digest.update(chunk)
    options.onBytes?.(chunk.length)
    yield chunk
  }
}

/** What the container sends is not believed: a body is never written beyond the size for which room was looked for. */
async function write(
  body: AsyncIterable<Uint8Array>,
  path: string,
  options: CopyOptions & { readonly limitBytes: number; readonly tooLong: () => Failure },
): Promise<{ sizeBytes: number; sha256: string }> {
  const digest = createHash('sha256')
  let sizeBytes = 0
  await using file = await open(path, 'wx', 0o600)
  for await (const chunk of body) {
    digest.update(chunk)
    sizeBytes += chunk.length
    if (sizeBytes > options.limitBytes) throw options.tooLong()
    options.onBytes?.(chunk.length)
    // Unlike write(), writeFile() takes all of it on a disk that is getting full, or fails.
    await file.writeFile(chunk).catch((error: unknown) => {
      if (!isOutOfSpace(error)) throw error
      throw new Failure('space-low', 'the work directory is full: the directory dump does not fit there', {
        cause: error,
        hints: ['choose another with TIDEMARK_WORK_DIR=/path/with/space', 'or use --format custom, which needs no staging'],
      })
    })
  }
  return { sizeBytes, sha256: digest.digest('hex') }
}

interface RunningTar extends AsyncDisposable {
  readonly stdout: Readable
  readonly stdin: Writable | null
  /** Waits for work on the streams. Where it fails because tar or docker ended, the reason is what they said. */
  during(work: Promise<void>): Promise<void>
  requireSuccess(): Promise<void>
}

async function startTar(access: ContainerAccess, args: readonly string[], stdin: boolean, signal: AbortSignal): Promise<RunningTar> {
  signal.throwIfAborted()
  // TAR_OPTIONS of the image's could ask for another format.
  const call = callInContainer(access, { command: ['tar', ...args], environment: { LC_ALL: 'C', TAR_OPTIONS: '' }, stdin })
  const child = spawn(call.program, [...call.args], { env: { ...call.environment }, cwd: '/', stdio: [stdin ? 'pipe' : 'ignore', 'pipe', 'pipe'] })
  await once(child, 'spawn').catch((error: unknown) => {
    throw notStarted(call.program, error)
  })
  if (child.stdout === null) throw new Error('a child process without pipes')
  const { stdout } = child
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-20_000)))
  child.on('error', (error) => (stderr += messageOf(error)))
  child.stdin?.on('error', () => undefined)
  const ended = once(child, 'close').then(([exitCode]: unknown[]) => exitCode as number | null)
  const stop = () => child.kill('SIGTERM')
  signal.addEventListener('abort', stop, { once: true })
  const requireSuccess = async () => {
    const exitCode = await ended
    signal.throwIfAborted()
    if (exitCode === 0) return
    const said = stderr.trim().split('\n').slice(-2).join(' | ')
    if (/No space left on device|Disk quota exceeded|Wrote only \d+ of/.test(stderr))
      throw new Failure('space-low', `the temporary directory in ${nameOfContainer(access.container)} is full: ${said}`, { hints: spaceHints(access) })
    throw containerFailure(access.container, exitCode, stderr) ?? lost(access, `tar ended with exit code ${exitCode}: ${said}`)
  }
  return {
    stdout,
    stdin: child.stdin,
    during: async (work) => {
      try {
        await work
      } catch (error) {
        stdout.destroy()
        child.stdin?.destroy()
        signal.throwIfAborted()
        // That a stream broke is only how its reason shows; anything else is the reason.
        if (!(error instanceof BrokenTar) && !['EPIPE', 'ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE'].includes(systemCodeOf(error) ?? '')) {
          child.kill('SIGTERM')
          throw error
        }
        await requireSuccess()
        throw lost(access, messageOf(error), error)
      }
    },
    requireSuccess,
    [Symbol.asyncDispose]: async () => {
      signal.removeEventListener('abort', stop)
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
      stdout.destroy()
      await ended
    },
  }
}

/** Lines of a short program's output. Its end must be told by the output itself. */
async function output(access: ContainerAccess, command: readonly string[], signal?: AbortSignal): Promise<readonly string[]> {
  const call = callInContainer(access, { command, environment: { LC_ALL: 'C' } })
  // A million large objects are a million lines.
  const run = await runProgram(call.program, call.args, {
    environment: call.environment,
    keepChars: 256 * 1024 * 1024,
    ...(signal === undefined ? {} : { signal }),
  })
  if (run.exitCode !== 0)
    throw (
      containerFailure(access.container, run.exitCode, run.stderr) ??
      lost(access, `${command[0] ?? ''} ended with exit code ${run.exitCode}: ${run.stderr.trim().split('\n').slice(-2).join(' | ')}`)
    )
  const lines = run.stdout.split('\n')
  // A line without its line feed was cut.
  lines.pop()
  return lines
}

/** What to do where the container has too little room. */
export function spaceHints(access: ContainerAccess): readonly string[] {
  return [
    'for a backup: use --format custom, which needs no space there',
    'or choose another directory in the container: TIDEMARK_CONTAINER_WORK_DIR=/path/with/space',
    access.container.kind === 'container' ? `docker exec ${access.container.name} df -h` : `docker compose exec ${access.container.service} df -h`,
  ]
}

function lost(access: ContainerAccess, what: string, cause?: unknown): Failure {
  return new Failure('tool-failed', `files could not be passed through ${nameOfContainer(access.container)}: ${what}`, {
    ...(cause === undefined ? {} : { cause }),
    hints: ['nothing of it was used; try again', 'does the container run, and is its engine well? see: docker ps'],
  })
}
