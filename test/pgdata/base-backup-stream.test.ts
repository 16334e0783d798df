import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, chown, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseBackupLabel, withoutIncrementalLines } from '../../src/pgdata/backup-label.ts'
import { parseControlFile } from '../../src/pgdata/control-file.ts'
import { crc32c } from '../../src/pgdata/crc32c.ts'
import { whyLeftOut } from '../../src/pgdata/exclusions.ts'
import { pathBytes } from '../../src/pgdata/file-path.ts'
import { incrementalTarget, parseIncrementalFile, reconstructedPages } from '../../src/pgdata/incremental-file.ts'
import { findBadPages } from '../../src/pgdata/page-checksum.ts'
import { isUnlogged, relationFileOf } from '../../src/pgdata/relation-path.ts'
import { formatServerManifest } from '../../src/pgdata/server-manifest-format.ts'
import { crc32cHex, parseServerManifest, type ServerManifest } from '../support/server-manifest.ts'
import { formatTablespaceMap, parseTablespaceMap } from '../../src/pgdata/tablespace-map.ts'
import { createBaseTarReader, type TarEntry } from '../../src/pgdata/tar-reader.ts'
import { walSegmentName, walSegmentNumber } from '../../src/pgdata/wal-segment.ts'
import { type BaseBackup, runBaseBackup, uploadManifest } from '../../src/postgres/replication/base-backup.ts'
import { openReplicationConnection } from '../../src/postgres/replication/replication-connection.ts'
import { ownCluster, type TestCluster } from '../support/cluster.ts'
import { debianPrograms, fill, newerPrograms, pathsIn, readIn } from './data-directory.ts'

interface Received {
  readonly backup: BaseBackup
  /** By path in the data directory, those of tablespaces under `pg_tblspc/<oid>/`; in the order of the stream. */
  readonly entries: ReadonlyMap<string, TarEntry & { readonly content: Buffer }>
  readonly manifest: Buffer
}

async function receive(cluster: TestCluster, previous?: Buffer): Promise<Received> {
  await using connection = await openReplicationConnection(cluster.target, { applicationName: 'tidemark test' })
  if (previous !== undefined) await uploadManifest(connection, only(previous))
  const entries = new Map<string, TarEntry & { content: Buffer }>()
  const manifest: Buffer[] = []
  let prefix = ''
  let reader: ReturnType<typeof createBaseTarReader> | undefined
  let last: { readonly entry: TarEntry; readonly pieces: Buffer[] } | undefined
  const backup = await runBaseBackup(
    connection,
    {
      major: cluster.major,
      label: 'the label',
      fastCheckpoint: true,
      manifest: true,
      manifestChecksums: 'CRC32C',
      verifyChecksums: true,
      incremental: previous !== undefined,
      progress: false,
    },
    {
      started: () => undefined,
      archive(oid) {
        prefix = oid === null ? '' : `pg_tblspc/${oid}/`
        reader = createBaseTarReader(
          {
            entry: (entry) => void (last = { entry, pieces: [] }),
            body: (bytes) => void last?.pieces.push(Buffer.from(bytes)),
            end() {
              if (last === undefined) throw new Error('end without entry')
              const path = prefix + last.entry.path
              expect([path, entries.has(path)]).toEqual([path, false])
              entries.set(path, { ...last.entry, path, content: Buffer.concat(last.pieces) })
            },
          },
          { endBlocks: cluster.major < 15 ? 'optional' : 'required' },
        )
      },
      data: (bytes) => reader?.write(bytes),
      archiveEnd: () => reader?.finish(),
      manifest: (bytes) => void manifest.push(Buffer.from(bytes)),
    },
  )
  return { backup, entries, manifest: Buffer.concat(manifest) }
}

async function* only(bytes: Buffer): AsyncGenerator<Uint8Array> {
  yield bytes
}

/** What a server leaves out, and beside it what only looks like it. */
const decoys = `
  base/pgsql_tmp/pgsql_tmp1.0 base/5/pgsql_tmp1.1 base/5/t9_99999 base/5/t9_99999_fsm.1 base/5/pg_internal.init.77 base/5/tx_99999
  postgresql.auto.conf.tmp current_logfiles.tmp backup_manifest pg_replslot/old/state pg_notify/0009 pg_stat_tmp/x pg_wal/left.over
  base/5/99998 base/5/99998_init base/5/99998.1 base/5/99997_fsm pg_snapshots/x mine/pg_serial/x mine/pg_wal/x log/postmaster.pid global/t9_99999
`
  .trim()
  .split(/\s+/)
  .concat('names/a b=c\n"d"\\', 'names/\u00c3\u00a9', 'names/\u00e9')

describe.each([13, 14, 15, 16, 17, 18])('BASE_BACKUP of PostgreSQL %i', (major) => {
  let cluster: TestCluster
  let dataDirectory: string
  let tablespace: string
  let received: Received

  beforeAll(async () => {
    cluster = await ownCluster(major, { autovacuum: 'off', max_wal_senders: '4', wal_level: 'replica', ...(major >= 17 ? { summarize_wal: 'on' } : {}) }, [
      '--data-checksums',
    ])
    dataDirectory = cluster.server.dataDirectory
    tablespace = join(dirname(dataDirectory), 'spa ce=\\1')
    const { uid, gid } = await stat(dataDirectory)
    await mkdir(tablespace)
    await chown(tablespace, uid, gid)
    await using session = await cluster.session()
    await fill(session, tablespace)
    for (const path of decoys) {
      const file = Buffer.concat([Buffer.from(`${dataDirectory}/`), pathBytes(path)])
      const parents = path.split('/').slice(0, -1)
      for (const depth of parents.keys()) await owned(join(dataDirectory, ...parents.slice(0, depth + 1)), uid, gid)
      await writeFile(file, Buffer.alloc(8192))
      await chown(file, uid, gid)
    }
    received = await receive(cluster)
  })
  afterAll(() => cluster.server[Symbol.asyncDispose]())

  async function owned(directory: string, uid: number, gid: number): Promise<void> {
    await mkdir(directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
    await chown(directory, uid, gid)
    await chmod(directory, 0o700)
  }

  const contentOf = (path: string) => received.entries.get(path)?.content ?? Buffer.alloc(0)

  it('holds exactly what our rules for reading the files directly would take', async () => {
    const paths = await pathsIn(dataDirectory)
    const names = new Map<string, Set<string>>()
    for (const path of paths) names.set(dirname(path), (names.get(dirname(path)) ?? new Set()).add(path.slice(path.lastIndexOf('/') + 1)))
    const taken = paths.filter((path) => {
      const plain = path.replace(/\/$/, '')
      const relation = relationFileOf(plain)
      if (whyLeftOut(plain, { major }) !== null) return false
      return relation === null || !isUnlogged(relation, names.get(dirname(path)) ?? new Set())
    })
    const sent = [...received.entries.values()].map(({ path, kind }) => (kind === 'directory' ? `${path}/` : path))
    // The server makes these itself, or leaves them to the tablespace map; directories of WAL are always sent.
    const own = (path: string) => !['backup_label', 'tablespace_map', 'pg_wal/summaries/'].includes(path) && !/^pg_tblspc\/\d+\/$/.test(path)
    expect(sent.filter(own).toSorted()).toEqual(taken.filter(own).toSorted())
    expect(taken.length).toBeLessThan(paths.length - 15)
    expect(sent.at(-1)).toBe('global/pg_control')
  })

  it('has no bad page, and every byte that its manifest promises', () => {
    const { files, ...frame } = parseServerManifest(received.manifest)
    const plain = [...received.entries.values()].filter(({ kind }) => kind === 'file')
    expect(new Set(files.map(({ path }) => path))).toEqual(new Set(plain.map(({ path }) => path)))
    for (const { path, sizeBytes, checksum } of files) {
      const content = contentOf(path)
      expect([path, content.length, crc32cHex(crc32c(content))]).toEqual([path, sizeBytes, checksum?.hex])
      if (relationFileOf(path) !== null)
        expect([path, findBadPages(content, { pageBytes: 8192, firstBlock: 0, newerThan: received.backup.startLsn })]).toEqual([path, []])
    }
    const { startLsn, startTimeline: timeline, stopLsn: endLsn } = received.backup
    expect(frame.walRanges).toEqual([{ timeline, startLsn, endLsn }])
    const control = parseControlFile(contentOf('global/pg_control'))
    expect(frame).toMatchObject({ version: major < 17 ? 1 : 2, systemIdentifier: major < 17 ? null : control.systemIdentifier })
  })

  it('has a manifest that we write byte for byte as the server does', () => {
    const manifest = parseServerManifest(received.manifest)
    expect(Buffer.concat([...formatServerManifest(manifest, manifest.files)]).equals(received.manifest)).toBe(true)
  })

  it('has a label and a tablespace map that say where it begins and where the tablespace was', () => {
    const { startLsn, startTimeline } = received.backup
    const label = contentOf('backup_label')
    const control = parseControlFile(contentOf('global/pg_control'))
    expect(parseBackupLabel(label)).toMatchObject({
      startLsn,
      startSegment: walSegmentName({ timeline: startTimeline, number: walSegmentNumber(startLsn, control.walSegmentBytes) }, control.walSegmentBytes),
      method: 'streamed',
      fromStandby: false,
      label: 'the label',
      timeline: startTimeline,
      incrementalFrom: null,
    })
    expect(parseBackupLabel(label).checkpointLsn).toBe(control.checkpointLsn)
    expect(control).toMatchObject({ redoLsn: startLsn, timeline: startTimeline, dataChecksumVersion: 1 })
    const links = parseTablespaceMap(contentOf('tablespace_map'), { major })
    expect(links).toEqual([{ oid: received.backup.tablespaces[0]?.oid, path: tablespace }])
    expect(formatTablespaceMap(links, { major }).equals(contentOf('tablespace_map'))).toBe(true)
  })

  const verify = major <= 16 ? join(debianPrograms, 'pg_verifybackup') : join(newerPrograms(major), 'pg_verifybackup')

  it.runIf(existsSync(verify))('is accepted by pg_verifybackup with a manifest of ours, and a wrong one is not', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tidemark-verify-'))
    try {
      for (const { path, kind, content } of received.entries.values()) {
        const place = Buffer.concat([Buffer.from(`${directory}/`), pathBytes(path)])
        await mkdir(kind === 'directory' ? place : Buffer.from(dirname(place.toString('latin1')), 'latin1'), { recursive: true })
        if (kind === 'file') await writeFile(place, content)
      }
      const frame = parseServerManifest(received.manifest)
      const files = [...received.entries.values()]
        .filter(({ kind }) => kind === 'file')
        .map(({ path, content }) => ({
          path,
          sizeBytes: content.length,
          lastModified: '2026-11-21 19:48:43 GMT',
          checksum: { algorithm: 'CRC32C', hex: crc32cHex(crc32c(content)) } as const,
        }))
      const judge = async (manifest: ServerManifest) => {
        await writeFile(join(directory, 'backup_manifest'), Buffer.concat([...formatServerManifest(manifest, manifest.files)]))
        return promisify(execFile)(verify, ['--no-parse-wal', directory], { env: { LC_ALL: 'C' } }).catch((error: { stderr: string }) => error)
      }
      expect(await judge({ ...frame, files })).toMatchObject({ stdout: expect.stringContaining('backup successfully verified') })
      const [first, ...others] = files
      if (first === undefined) throw new Error('no files')
      const wrong = { ...first, checksum: { algorithm: 'CRC32C', hex: '00000000' } as const }
      expect((await judge({ ...frame, files: [wrong, ...others] })).stderr).toContain('checksum mismatch')
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  })

  it.runIf(major >= 17)('of what changed since consists of incremental files that fit onto those before', async () => {
    await using session = await cluster.session()
    await session.query(`UPDATE orders SET note = 'changed' WHERE id = 19999`)
    await session.query(`INSERT INTO nothing SELECT generate_series(1, 5000)`)
    await session.query('TRUNCATE wide; DELETE FROM elsewhere WHERE id > 15000')
    await session.query('VACUUM elsewhere')
    await session.query('CHECKPOINT')
    const later = await receive(cluster, received.manifest)
    const geometry = { pageBytes: 8192, relationSegmentPages: 131_072 }
    const kinds = { unchanged: 0, changed: 0, shorter: 0 }
    const maps: { target: string; merged: Buffer; now: Buffer; isCarriedOver: boolean }[] = []
    for (const { path, kind, content } of later.entries.values()) {
      const target = incrementalTarget(path)
      if (kind !== 'file' || target === null) continue
      const file = parseIncrementalFile(content, geometry)
      expect([path, file.fileBytes]).toEqual([path, content.length])
      expect(relationFileOf(target)).not.toBeNull()
      const now = await readIn(dataDirectory, target)
      expect([target, reconstructedPages(file) * 8192]).toEqual([target, now.length])
      const before = contentOf(target)
      if (file.blocks.length === 0) kinds.unchanged += 1
      else kinds.changed += 1
      if (now.length < before.length) kinds.shorter += 1
      const merged = Buffer.alloc(reconstructedPages(file) * 8192)
      before.copy(merged, 0, 0, file.truncationPages * 8192)
      file.blocks.forEach((block, index) => content.copy(merged, block * 8192, file.headerBytes + index * 8192, file.headerBytes + (index + 1) * 8192))
      if (relationFileOf(target)?.fork === 'vm') maps.push({ target, merged, now, isCarriedOver: file.blocks.length === 0 })
      else expect([target, merged.equals(now)]).toEqual([target, true])
    }
    expect(kinds.unchanged).toBeGreaterThan(100)
    expect(kinds.changed).toBeGreaterThan(0)
    expect(kinds.shorter).toBeGreaterThan(0)
    // Bits that the map of the server has, and no other, once a page that describes changed ones is taken as zeros.
    for (const { target, merged, now, isCarriedOver } of maps) {
      const heap = later.entries.get(target.replace(/(\d+)_vm$/, 'INCREMENTAL.$1'))?.content
      if (heap !== undefined && isCarriedOver && parseIncrementalFile(heap, geometry).blocks.length > 0) merged.fill(0)
      expect([target, findBadPages(merged, { pageBytes: 8192, firstBlock: 0, newerThan: later.backup.stopLsn })]).toEqual([target, []])
      expect([target, merged.subarray(24).findIndex((byte, index) => (byte & ~(now[24 + index] ?? 0)) !== 0)]).toEqual([target, -1])
    }
    expect(maps.length).toBeGreaterThan(10)
    const label = later.entries.get('backup_label')?.content ?? Buffer.alloc(0)
    expect(parseBackupLabel(label).incrementalFrom).toEqual({ lsn: received.backup.startLsn, timeline: 1 })
    expect(parseBackupLabel(withoutIncrementalLines(label))).toEqual({ ...parseBackupLabel(label), incrementalFrom: null })
  })
})
