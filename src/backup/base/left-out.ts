import type { ClusterRead } from './cluster-read.ts'

type LeftOut = ClusterRead['leftOut']

/** What the server itself passed over: it sends no links and no special files, and only warns of them (`skipping special file "./base/16384"`), in its own language. */
export function leftOutOf(warnings: readonly string[]): LeftOut {
  // It may warn twice: when it adds sizes up, and when it sends.
  return [...new Set(warnings)].map((message) => {
    const [, path = message] = /["„«](?:\.\/)?([^"“”»]+)["“”»]/.exec(message) ?? []
    return { what: path, why: `the server warns: ${message}` }
  })
}

/** Directories without which a cluster is not whole: a database, or a part of what says which transactions committed, may lie behind a link there. Logs and configuration may not be there. */
const dataDirectories = /^(?:base|global|pg_tblspc|pg_xact|pg_multixact|pg_commit_ts|pg_twophase|pg_logical)(?:\/|$)/

/** Whether rows may be missing in the backup, because they lay where no base backup reads. */
export function lacksRows(leftOut: LeftOut): boolean {
  return leftOut.some(({ what }) => dataDirectories.test(what))
}
