import { type ContainerAccess, runInContainer } from './container.ts'

/** Bytes free where a path of the container lies, negative where only root's reserve is left; or what `df` said instead. */
export type ContainerSpace = { readonly freeBytes: number } | { readonly freeBytes: null; readonly said: string }

/** Asks the container's own `df`. Failures of docker itself are thrown. */
export async function findContainerSpace(access: ContainerAccess, path: string, signal?: AbortSignal): Promise<ContainerSpace> {
  const run = await runInContainer(access, { command: ['df', '-Pk', path], environment: { LC_ALL: 'C' } }, signal)
  // POSIX: file system, 1024-blocks, used, available, capacity, mounted on.
  const [, available] = /\s\d+\s+\d+\s+(-?\d+)\s+(?:\d+%|-)\s+\/.*\n?$/.exec(run.stdout) ?? []
  if (run.exitCode !== 0 || available === undefined) return { freeBytes: null, said: run.stderr.trim() || run.stdout.trim() || 'df said nothing' }
  return { freeBytes: Number(available) * 1024 }
}
