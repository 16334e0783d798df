import { Failure, messageOf, systemCodeOf } from '../kernel/failure.ts'
import type { FailureCode } from '../kernel/failure.ts'

// What the kernel says, in the words of our table. EIO is not worth an automatic retry: after a failed fsync the
// page cache may claim that the bytes are safe when they are not.
const meanings: Readonly<Record<string, { code: FailureCode; why: string; hint?: string; transient?: true }>> = {
  ENOSPC: { code: 'storage-full', why: 'no space is left', hint: 'free space or inodes on that file system, then run the same command again (df -h, df -i)' },
  EDQUOT: { code: 'storage-full', why: 'the disk quota is used up', hint: 'raise the quota or free space, then run the same command again' },
  EFBIG: { code: 'storage-full', why: 'the file would be larger than the file system or the process limit (ulimit -f) allows' },
  EACCES: { code: 'storage-denied', why: 'permission denied', hint: 'check the owner and mode of the directory and of every directory above it' },
  EPERM: { code: 'storage-denied', why: 'the operation is not permitted', hint: 'check owner, immutable flags (lsattr) and mount options' },
  EROFS: { code: 'storage-denied', why: 'the file system is read-only', hint: 'a disk error may have remounted it read-only: check dmesg and mount' },
  EIO: { code: 'storage-failed', why: 'the device reports an input/output error', hint: 'check the disk (dmesg, smartctl)' },
  ENAMETOOLONG: { code: 'storage-failed', why: 'the name is too long for that file system' },
  ENOTDIR: { code: 'storage-failed', why: 'a part of the path is not a directory' },
  EISDIR: { code: 'storage-failed', why: 'there is a directory of that name' },
  ENOTEMPTY: { code: 'storage-failed', why: 'there is a directory of that name' },
  ELOOP: { code: 'storage-denied', why: 'a part of the path is a symbolic link, which is not followed' },
  EXDEV: { code: 'storage-failed', why: 'the repository spans several file systems', hint: 'mount the whole repository on one file system' },
  EMFILE: { code: 'storage-failed', why: 'too many files are open', transient: true },
  ENFILE: { code: 'storage-failed', why: 'too many files are open on this machine', transient: true },
  EAGAIN: { code: 'storage-failed', why: 'the file system is busy', transient: true },
  EBUSY: { code: 'storage-failed', why: 'the file is busy', transient: true },
  EINTR: { code: 'storage-failed', why: 'the call was interrupted', transient: true },
  ETIMEDOUT: { code: 'storage-failed', why: 'the file server does not answer', transient: true },
  EHOSTDOWN: { code: 'storage-failed', why: 'the file server is down', transient: true },
  ESTALE: { code: 'storage-failed', why: 'the network file handle is stale', transient: true },
  ENOTCONN: { code: 'storage-failed', why: 'the network file system is not connected', transient: true },
}

/** A system error as a Failure; Failures, aborts and whatever the body threw pass unchanged (they carry no known system call). */
export function posixFailure(action: string, error: unknown): unknown {
  if (error instanceof Failure) return error
  const code = systemCodeOf(error)
  if (code === undefined || !(error instanceof Error) || !('syscall' in error)) return error
  const meaning = meanings[code]
  if (meaning === undefined) return new Failure('storage-failed', `cannot ${action}: ${messageOf(error)}`, { cause: error, details: { systemCode: code } })
  return new Failure(meaning.code, `cannot ${action}: ${meaning.why} (${code})`, {
    cause: error,
    hints: meaning.hint === undefined ? [] : [meaning.hint],
    details: meaning.transient === true ? { systemCode: code, transient: true } : { systemCode: code },
  })
}

/** Runs one step of a driver; its system errors become Failures that begin with `cannot <action>`. */
export async function attempting<T>(action: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step()
  } catch (error) {
    throw posixFailure(action, error)
  }
}

/** The value, or undefined when the path does not exist (a parent that is a plain file included). */
export async function orAbsent<T>(step: () => Promise<T>): Promise<T | undefined> {
  try {
    return await step()
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
}
