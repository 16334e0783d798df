import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Context } from '../kernel/context.ts'
import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'

/** A configured command as words; there is no shell. */
export type HookCommand = readonly string[]

/** Commands around a restore; null = none. */
export interface RestoreHooks {
  readonly before: HookCommand | null
  readonly after: HookCommand | null
  readonly onFailure: HookCommand | null
  /** All that they get of the environment. */
  readonly environment: Readonly<Record<string, string>>
}

/** Runs `before`, then the work. The application is started again after a failure, too: `after` and `onFailure` run then. */
export async function afterBefore<Result>(hooks: RestoreHooks, context: Context, work: () => Promise<Result>): Promise<Result> {
  try {
    if (hooks.before !== null) await runHook('before', hooks.before, hooks.environment, context)
    return await work()
  } catch (error) {
    await runHooksAfterFailure(hooks, ['after', 'onFailure'], context)
    throw error
  }
}

/** Runs what is to run when something failed, also after a cancellation. A failing hook is said and does not hide why it was run. */
export async function runHooksAfterFailure(hooks: RestoreHooks, names: readonly ('after' | 'onFailure')[], context: Context): Promise<void> {
  const unstoppable = { ...context, signal: new AbortController().signal }
  for (const name of names) {
    const hook = hooks[name]
    if (hook === null) continue
    await runHook('failure', hook, hooks.environment, unstoppable).catch((error: unknown) =>
      context.emit({ type: 'warning', code: 'hook-failed', message: messageOf(error) }),
    )
  }
}

/**
 * Runs a hook with the given environment and tells its output. Rejects with `hook-failed` when it cannot start or ends with another code than 0.
 * Aborting ends it with SIGTERM.
 */
export async function runHook(name: string, command: HookCommand, environment: Readonly<Record<string, string>>, context: Context): Promise<void> {
  const [program, ...words] = command
  if (program === undefined) return
  context.emit({ type: 'note', message: `${name}: ${command.join(' ')}` })
  const child = spawn(program, words, { env: environment, stdio: ['ignore', 'pipe', 'pipe'], signal: context.signal })
  const tail: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', (text: string) => {
      for (const line of text.split('\n')) {
        if (line.trim() === '') continue
        tail.push(line.slice(0, 500))
        if (tail.length > 20) tail.shift()
        context.emit({ type: 'tool-line', tool: name, line })
      }
    })
  }
  try {
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
    if (code === 0) return
    throw new Failure('hook-failed', `the ${name} command "${command.join(' ')}" ended with ${signal === null ? `exit code ${code}` : `signal ${signal}`}`, {
      hints: tail.slice(-5),
    })
  } catch (error) {
    if (error instanceof Failure || context.signal.aborted) throw error
    throw new Failure('hook-failed', `the ${name} command "${command.join(' ')}" cannot be started: ${messageOf(error)}`, {
      cause: error,
      hints: ['name a program with its arguments; pipes and && need a script of your own'],
    })
  }
}

/** Waits until the URL answers with a success status. Redirects are not followed: a login page is no health. Only the origin is ever shown, for the rest may be a secret. */
export async function waitForHealth(url: string, timeoutSeconds: number, context: Context): Promise<void> {
  const { address, headers, origin } = healthRequest(url)
  const endsAt = context.clock.monotonicMs() + timeoutSeconds * 1000
  let last = 'no answer'
  while (context.clock.monotonicMs() < endsAt) {
    context.signal.throwIfAborted()
    try {
      const response = await fetch(address, { redirect: 'manual', headers, signal: AbortSignal.any([context.signal, AbortSignal.timeout(10_000)]) })
      await response.body?.cancel()
      if (response.ok) return
      last = `status ${response.status}`
    } catch (error) {
      context.signal.throwIfAborted()
      last = systemCodeOf(error instanceof Error && error.cause !== undefined ? error.cause : error) ?? 'no connection'
    }
    await context.clock.sleep(1000, context.signal)
  }
  throw new Failure('hook-failed', `the health URL at ${origin} did not answer with success within ${timeoutSeconds} s (${last})`, {
    hints: ['the restored database stands as it is; look at the application'],
  })
}

/** Credentials of a URL travel as a header; fetch() refuses them in the URL. Rejects what is no http(s) URL before anything is done. */
export function healthRequest(url: string): { address: string; headers: Record<string, string>; origin: string } {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) throw new Failure('usage-invalid', 'the health URL is not an http or https URL')
  const parsed = new URL(url)
  const { username, password, origin } = parsed
  parsed.username = ''
  parsed.password = ''
  const headers: Record<string, string> =
    username === '' && password === ''
      ? {}
      : { authorization: `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')}` }
  return { address: parsed.href, headers, origin }
}

/** Words of a command line with single and double quotes and backslashes, as people write them; nothing is expanded. */
export function splitWords(text: string): readonly string[] {
  const words: string[] = []
  let word: string | null = null
  let quote: string | null = null
  for (let index = 0; index < text.length; index += 1) {
    const char = text.charAt(index)
    if (quote === null && /\s/.test(char)) {
      if (word !== null) words.push(word)
      word = null
    } else if (quote === null && (char === '"' || char === "'")) {
      quote = char
      word ??= ''
    } else if (char === quote) {
      quote = null
    } else if (char === '\\' && quote !== "'" && index + 1 < text.length) {
      index += 1
      word = (word ?? '') + text.charAt(index)
    } else {
      word = (word ?? '') + char
    }
  }
  if (quote !== null) throw new Failure('usage-invalid', `the command has an unclosed ${quote}`)
  if (word !== null) words.push(word)
  return words
}
