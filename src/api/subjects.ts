import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Failure, systemCodeOf } from '../kernel/failure.ts'
import { keyOfStoredFile } from './stored-file.ts'
import type { Workspace } from './workspace.ts'

/** What a positional argument means, in the order of the contract: a configured cluster, `latest`, a known backup, a path. */
export type Subject =
  | { readonly kind: 'cluster'; readonly name: string }
  | { readonly kind: 'backup'; readonly text: string }
  | { readonly kind: 'file'; readonly path: string }

/** Ids and their beginnings look like this; a file of that name needs `./` or --file. */
const idShape = /^\d{8}(-\d{0,6}(-[0-9a-z]{0,4})?)?$/

/**
 * Decides by looking at the configuration and the file system; whether a backup of that name exists is found out later. The file of a known backup means that backup. A word that
 * is a cluster and also an existing file in the working directory has two meanings and is refused (exit 2).
 */
export async function resolveSubject(workspace: Workspace, text: string): Promise<Subject> {
  const path = resolve(workspace.machine.cwd, text.replace(/^~(?=\/)/, workspace.machine.home))
  const exists = await fileExists(path)
  if (Object.hasOwn(workspace.settings.clusters, text)) {
    if (exists && !text.includes('/') && (await isRegular(path))) {
      throw new Failure('usage-invalid', `"${text}" is a configured cluster and also a file here`, {
        hints: [`say which: --cluster ${text}, or --file ./${text}`],
      })
    }
    return { kind: 'cluster', name: text }
  }
  if (text === 'latest' || idShape.test(text)) return { kind: 'backup', text }
  if (exists) {
    const key = await keyOfStoredFile(workspace, path)
    return key === undefined ? { kind: 'file', path } : { kind: 'backup', text: key }
  }
  // A name with a slash can only be a path; that there is nothing is said where it is read.
  if (text.includes('/')) return { kind: 'file', path }
  return { kind: 'backup', text }
}

async function fileExists(path: string): Promise<boolean> {
  return (await lookAt(path)) !== undefined
}

async function isRegular(path: string): Promise<boolean> {
  return (await lookAt(path))?.isFile() === true
}

async function lookAt(path: string) {
  try {
    return await stat(path)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'EACCES'].includes(systemCodeOf(error) ?? '')) return undefined
    throw error
  }
}
