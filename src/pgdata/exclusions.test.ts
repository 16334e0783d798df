import { describe, expect, it } from 'vitest'
import { whyLeftOut } from './exclusions.ts'

const listed = (paths: string) => paths.trim().split(/\s+/)
const leftOut = (path: string, options = {}) => whyLeftOut(path, { major: 15, ...options }) !== null

describe('what a base backup leaves out', () => {
  it('is what the server leaves out, wherever in the tree it lies', () => {
    const paths = listed(`
      postmaster.pid postmaster.opts postgresql.auto.conf.tmp current_logfiles.tmp backup_label tablespace_map backup_manifest
      base/pgsql_tmp base/pgsql_tmp/pgsql_tmp12.0 pg_tblspc/16500/PG_15_202209061/pgsql_tmp/pgsql_tmp1.2
      base/5/pgsql_tmp.fileset/x base/5/pg_internal.init global/pg_internal.init.123 pg_stat_tmp/db_5.stat
      pg_replslot/mine/state pg_dynshmem/mmap.1 pg_notify/0000 pg_serial/0000 pg_snapshots/1-1 pg_subtrans/0000
      pg_wal/000000010000000000000001 pg_wal/archive_status/000000010000000000000001.done pg_wal/00000002.history
      base/5/t3_16384 base/5/t3_16384_fsm.1 base/.DS_Store pg_tblspc/16500/PG_14_202107181/5/16384
    `)
    expect(paths.filter((path) => !leftOut(path))).toEqual([])
  })

  it('is nothing else: neither the emptied directories themselves nor what only resembles', () => {
    const paths = listed(`
      global/pg_control PG_VERSION base/5/16384 base/5/16384_init postgresql.conf postgresql.auto.conf current_logfiles
      log/postgresql.log pg_wal pg_wal/archive_status pg_stat_tmp pg_replslot pg_notify pg_subtrans pg_stat/pgstat.stat
      pg_xact/0000 pg_logical/mappings pg_tblspc pg_tblspc/16500 pg_tblspc/16500/PG_15_202209061
      pg_tblspc/16500/PG_15_202209061/5/16384 backup_label.old xpostmaster.pid old/pg_wal/000000010000000000000001
      backup_labels global/t3_16384
    `)
    expect(paths.filter((path) => leftOut(path))).toEqual([])
  })

  it('differs between majors only in the directory of WAL summaries and in the setting for temporary statistics', () => {
    expect([16, 17].map((major) => leftOut('pg_wal/summaries', { major }))).toEqual([true, false])
    expect(leftOut('pg_wal/summaries/0000000100000000010000280000000001045648.summary', { major: 17 })).toBe(true)
    const statsTempDirectory = 'run/stats'
    expect([14, 15].map((major) => leftOut('run/stats/db_5.stat', { major, statsTempDirectory }))).toEqual([true, false])
    expect(leftOut('run/stats', { major: 14, statsTempDirectory })).toBe(false)
    expect(leftOut('run/statsx/a', { major: 14, statsTempDirectory })).toBe(false)
  })

  it('is told with its reason', () => {
    expect(whyLeftOut('pg_replslot/mine/state', { major: 18 })).toContain('replication slots')
  })
})
