import type { Context } from '../kernel/context.ts'
import { Failure, isFailure, messageOf } from '../kernel/failure.ts'
import { startClient } from '../postgres/client-process.ts'
import { fromReadable, readAll } from '../stream/chunks.ts'
import type { DumpRequest } from './dump-request.ts'
import type { LeftOut } from './left-out.ts'
import type { OpenSource } from './open-source.ts'
import { createContent, type Targets } from './store-target.ts'

/** A million roles are some 200 MB; anything beyond is not roles. */
const limitBytes = 256 * 1024 * 1024

export interface StoredGlobals {
  readonly warnings: readonly string[]
  readonly leftOut: readonly LeftOut[]
}

/**
 * Stores roles, memberships, tablespaces and their settings beside the dump, so that a restore on an empty server works. A role without access to
 * password hashes gets them without passwords, which is said. When they cannot be had at all the backup goes on, and says what it lacks.
 */
export async function storeGlobals(request: DumpRequest, source: OpenSource, targets: Targets, context: Context): Promise<StoredGlobals> {
  if (source.dumpAllTool === null) {
    return {
      warnings: ['pg_dumpall is not installed, so roles and tablespaces are not in this backup'],
      leftOut: [{ what: 'roles and tablespaces', why: 'pg_dumpall is not installed' }],
    }
  }
  try {
    const { bytes, withoutPasswords } = await dumpGlobals(request, source, context)
    await targets.each(async (target) => {
      const options = { sizeBytes: bytes.byteLength, contentType: 'application/sql', signal: context.signal }
      target.companions.push({ key: target.keys.globals, role: 'globals', ...(await createContent(target, target.keys.globals, bytes, options)) })
    })
    return withoutPasswords
      ? { warnings: [], leftOut: [{ what: 'passwords of roles', why: `role "${request.target.user}" may not read them; restored roles need new ones` }] }
      : { warnings: [], leftOut: [] }
  } catch (error) {
    if (!isFailure(error, 'tool-failed', 'permission-denied', 'query-failed')) throw error
    return { warnings: [`roles and tablespaces could not be dumped: ${messageOf(error)}`], leftOut: [{ what: 'roles and tablespaces', why: messageOf(error) }] }
  }
}

async function dumpGlobals(request: DumpRequest, source: OpenSource, context: Context): Promise<{ bytes: Uint8Array; withoutPasswords: boolean }> {
  try {
    return { bytes: await runDumpAll(request, source, ['--globals-only'], context), withoutPasswords: false }
  } catch (error) {
    // pg_authid is for superusers; pg_roles has everything but the hashes.
    if (!isFailure(error, 'permission-denied', 'tool-failed')) throw error
    return { bytes: await runDumpAll(request, source, ['--globals-only', '--no-role-passwords'], context), withoutPasswords: true }
  }
}

async function runDumpAll(request: DumpRequest, source: OpenSource, args: readonly string[], context: Context): Promise<Uint8Array> {
  if (source.dumpAllTool === null) throw new Failure('tool-missing', 'pg_dumpall is not installed')
  await using dumpAll = await startClient(source.dumpAllTool, [...args, '--no-password'], source.target, {
    applicationName: 'tidemark pg_dumpall',
    database: request.database,
    signal: context.signal,
    emit: context.emit,
  })
  const bytes = await readAll(fromReadable(dumpAll.stdout, context.signal), limitBytes, 'the dump of roles')
  await dumpAll.requireSuccess()
  return bytes
}
