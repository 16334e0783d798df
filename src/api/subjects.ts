import { stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Failure, systemCodeOf } from '../kernel/failure.ts'
import type { Wanted } from './list-backups.ts'
import { isKnownBackup, keyInBucket, keyOfStoredFile } from './stored-file.ts'
import { configuredNames, requireOneCluster, type Workspace } from './workspace.ts'

/** What a positional argument means, in the order of the contract: a configured cluster, `latest`, a known backup, a path. */
export type Subject =
  | { readonly kind: 'cluster'; readonly name: string }
  | {
      readonly kind: 'backup'
      readonly text: string
      /** What else the word might have been and is not, where nothing but this guess is left. */
      readonly elseIs?: string
    }
  | { readonly kind: 'file'; readonly path: string }

/** Ids and their beginnings look like this. */
const idShape = /^\d{8}(-\d{0,6}(-[0-9a-z]{0,4})?)?$/

/**
 * Decides by looking at the configuration and the file system; whether a backup of that name exists is found out later. The file of a known backup means that backup, on disk and in a
 * bucket. A word that is a cluster, `latest`, the beginning of an id or the name of a known backup, and also a dump in the working directory, has two meanings and is refused (exit 2).
 */
export async function resolveSubject(workspace: Workspace, text: string): Promise<Subject> {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text) && !/^file:\/\/\//i.test(text)) return { kind: 'backup', text: await keyInBucket(workspace, text) }
  const path = resolve(workspace.machine.cwd, text.replace(/^file:\/\/(?=\/)/i, '').replace(/^~(?=\/)/, workspace.machine.home))
  const found = await lookAt(path)
  const isDump = found !== undefined && !text.includes('/') && (found.isFile() || (await lookAt(join(path, 'toc.dat'))) !== undefined)
  if (configuredNames(workspace).includes(text)) {
    if (isDump) throw twoMeanings(text, 'a configured cluster', `--cluster ${text}`)
    return { kind: 'cluster', name: text }
  }
  if (text === 'latest' || idShape.test(text)) {
    if (isDump) throw twoMeanings(text, text === 'latest' ? 'the newest backup' : 'the beginning of an id', `--backup ${text}`)
    return { kind: 'backup', text }
  }
  if (found !== undefined) {
    const key = await keyOfStoredFile(workspace, path)
    if (key !== undefined) {
      if (found.isFile() && !path.endsWith(`/${key}`)) workspace.context.emit({ type: 'note', message: `${text} is ${key}` })
      return { kind: 'backup', text: key }
    }
    if (text.includes('/') || !(await isKnownBackup(workspace, text))) return { kind: 'file', path }
    if (isDump) throw twoMeanings(text, 'a backup of the repository', `--backup ${text}`)
    return { kind: 'backup', text }
  }
  // A name with a slash can only be a path; that there is nothing is said where it is read.
  if (text.includes('/')) return { kind: 'file', path }
  const clusters = configuredNames(workspace)
  return { kind: 'backup', text, elseIs: `no configured cluster (${clusters.length === 0 ? 'there is none' : clusters.join(', ')}) and no file here` }
}

function twoMeanings(text: string, meaning: string, flag: string): Failure {
  return new Failure('usage-invalid', `"${text}" is ${meaning} and also a file here`, { hints: [`say which: ${flag}, or ./${text} for the file`] })
}

/** A cluster may be named in two places, which must not say different things. */
export function oneCluster(positional: string | undefined, flag: string | undefined): string | undefined {
  if (positional !== undefined && flag !== undefined && positional !== flag) {
    throw new Failure('usage-invalid', `two clusters are named: "${positional}" and --cluster ${flag}`, { hints: ['name one of them'] })
  }
  return positional ?? flag
}

/** One backup, as words and flags name it. */
export interface BackupWords {
  /** As typed: a backup or its file; where that is allowed, a cluster, whose latest is meant. */
  readonly wanted?: string | undefined
  /** A backup, whatever it is called. */
  readonly backup?: string | undefined
  readonly cluster?: string | undefined
}

export interface ChosenBackup extends Wanted {
  readonly cluster?: string
}

/**
 * What a verb about one backup of the repository is about; with `latest` where nothing is named. Other files, contradictions, and a `latest` of
 * which cluster is not said, are refused (exit 2).
 */
export async function chooseBackup(workspace: Workspace, verb: string, words: BackupWords, options: { clusters: boolean }): Promise<ChosenBackup> {
  const chosen = await readWords(workspace, verb, words, options)
  requireOneCluster(workspace, chosen.cluster, chosen.text)
  return chosen
}

async function readWords(workspace: Workspace, verb: string, words: BackupWords, options: { clusters: boolean }): Promise<ChosenBackup> {
  const { wanted, backup, cluster } = words
  const inCluster = cluster === undefined ? {} : { cluster }
  if (wanted !== undefined && backup !== undefined && wanted !== backup)
    throw new Failure('usage-invalid', `two backups are named: "${wanted}" and --backup ${backup}`, { hints: ['name one of them'] })
  if (backup !== undefined) return { text: backup, ...inCluster }
  if (wanted === undefined) return { text: 'latest', ...inCluster }
  const subject = await resolveSubject(workspace, wanted)
  if (subject.kind === 'backup') return { text: subject.text, ...(subject.elseIs === undefined ? {} : { elseIs: subject.elseIs }), ...inCluster }
  if (subject.kind === 'file') {
    throw new Failure(
      (await lookAt(subject.path)) === undefined ? 'backup-missing' : 'usage-invalid',
      `${verb} is about backups of the repository; ${wanted} is none of their files`,
      {
        hints: ['see what there is: tidemark list', `look into the file: tidemark verify --file ${wanted}`, 'or take it in first: tidemark repo adopt'],
      },
    )
  }
  const name = oneCluster(subject.name, cluster)
  if (!options.clusters)
    throw new Failure('usage-invalid', `"${wanted}" is a cluster; ${verb} needs a backup`, {
      hints: [`the newest of it: tidemark ${verb} latest --cluster ${wanted}`, `a backup that is called so: --backup ${wanted}`],
    })
  return { text: 'latest', ...(name === undefined ? {} : { cluster: name }) }
}

async function lookAt(path: string) {
  try {
    return await stat(path)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG', 'EACCES'].includes(systemCodeOf(error) ?? '')) return undefined
    throw error
  }
}
