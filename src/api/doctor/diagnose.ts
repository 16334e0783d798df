import type { ClusterSettings } from '../../config/settings.ts'
import { Failure } from '../../kernel/failure.ts'
import { pickCluster, repositoryNames, type Workspace } from '../workspace.ts'
import { checkKeyFiles } from './check-keys.ts'
import { checkConfiguration, checkWorkDirectory } from './check-machine.ts'
import { checkRepository } from './check-repository.ts'
import { checkRestore } from './check-restore.ts'
import { checkServer, type ServerSeen } from './check-server.ts'
import { createReport, type Finding } from './finding.ts'

export interface DiagnoseOptions {
  /** Default: every configured cluster. */
  readonly cluster?: string
  readonly repositories?: readonly string[]
}

export interface Diagnosis {
  /** Nothing fails; there may be warnings. */
  readonly ok: boolean
  readonly findings: readonly Finding[]
}

/** Looks at everything that would make a backup or a restore fail later. What cannot be looked at is itself a finding. */
export async function diagnose(workspace: Workspace, options: DiagnoseOptions = {}): Promise<Diagnosis> {
  const report = createReport()
  checkConfiguration(workspace, report)
  await checkKeyFiles(workspace, report)
  const clusters = chosenClusters(workspace, options.cluster)
  const servers: ServerSeen[] = []
  for (const cluster of clusters) {
    const own = report.about(cluster.name)
    const seen = await checkServer(workspace, cluster, own)
    if (seen === null) continue
    servers.push(seen)
    await checkRestore(workspace, cluster, own)
  }
  const names = new Set(clusters.flatMap((cluster) => repositoryNames(workspace, cluster, options.repositories)))
  for (const name of names) {
    const settings = workspace.settings.repositories[name]
    if (settings === undefined)
      throw new Failure('usage-invalid', `no repository is called "${name}"`, {
        hints: [`configured: ${Object.keys(workspace.settings.repositories).join(', ')}`],
      })
    await checkRepository(settings, servers, report.about(name), workspace)
  }
  await checkWorkDirectory(workspace, servers, report)
  return { ok: !report.findings.some((finding) => finding.severity === 'fail'), findings: report.findings }
}

export function chosenClusters(workspace: Workspace, name: string | undefined): readonly ClusterSettings[] {
  const all = Object.values(workspace.settings.clusters)
  return name === undefined && all.length > 0 ? all : [pickCluster(workspace, name)]
}
