import { describe, expect, it } from 'vitest'
import { isUnlogged, relationFileOf } from './relation-path.ts'

const listed = (paths: string) => paths.trim().split(/\s+/)
const main = { fork: 'main', segment: 0, isTemporary: false } as const

describe('the path of a relation file', () => {
  it('tells tablespace, database, relfilenode, fork and segment', () => {
    expect(relationFileOf('base/5/16384')).toEqual({ tablespaceOid: 1663, databaseOid: 5, relfilenode: 16384, ...main })
    expect(relationFileOf('global/1262_fsm')).toEqual({ tablespaceOid: 1664, databaseOid: 0, relfilenode: 1262, ...main, fork: 'fsm' })
    expect(relationFileOf('base/5/16384_vm.12')).toMatchObject({ fork: 'vm', segment: 12 })
    expect(relationFileOf('base/5/16384_init')).toMatchObject({ fork: 'init', segment: 0 })
    expect(relationFileOf('pg_tblspc/16500/PG_15_202209061/5/4294967295.1')).toEqual({
      tablespaceOid: 16500,
      databaseOid: 5,
      relfilenode: 4294967295,
      ...main,
      segment: 1,
    })
    expect(relationFileOf('base/5/t3_16384_fsm')).toMatchObject({ relfilenode: 16384, fork: 'fsm', isTemporary: true })
  })

  it('is not seen where PostgreSQL has no relations, so that no plain file is judged by its pages', () => {
    const others = listed(`
      global/pg_control base/5/pg_filenode.map base/5/PG_VERSION base/5/pg_internal.init base/5 base/16384 PG_VERSION
      base/5/016384 base/5/16384.0 base/5/16384.01 base/5/16384_tmp base/5/16384_fsm. base/5/16384x base/5/4294967296
      base/05/16384 base/5/x/16384 base/pgsql_tmp/16384 pg_wal/000000010000000000000001 pg_xact/0000 pg_multixact/members/0000
      pg_tblspc/16500/5/16384 pg_tblspc/16500/PG_15_202209061/16384 global/t3_16384 base/5/tx_16384 base/5/16384/ xbase/5/16384
      base/5/INCREMENTAL.16384
    `).concat('base/5/16384\n')
    for (const path of others) expect([path, relationFileOf(path)]).toEqual([path, null])
  })

  it('belongs to an unlogged relation when there is an init fork, which itself is always kept', () => {
    const names = new Set(['16384', '16384_init', '16384_fsm', '16385'])
    const unlogged = [...names, '16384.1', '163841', 't3_16384'].filter((name) => {
      const relation = relationFileOf(`base/5/${name}`)
      return relation !== null && isUnlogged(relation, names)
    })
    expect(unlogged).toEqual(['16384', '16384_fsm', '16384.1'])
  })
})
