import { Failure } from '../kernel/failure.ts'
import { crc32c } from './crc32c.ts'

/** Where it lies in a data directory. */
export const controlFilePath = 'global/pg_control'

/** What `global/pg_control` says of a cluster. LSNs are byte positions in the WAL. */
export interface ControlFile {
  /** 64 bits, in decimal: never a JavaScript number. */
  readonly systemIdentifier: string
  readonly pgControlVersion: number
  readonly catalogVersion: number
  readonly state: ClusterState
  readonly checkpointLsn: bigint
  /** Where recovery from that checkpoint begins. */
  readonly redoLsn: bigint
  readonly timeline: number
  readonly fullPageWrites: boolean
  readonly minRecoveryLsn: bigint
  readonly minRecoveryTimeline: number
  readonly walLevel: 'minimal' | 'replica' | 'logical'
  readonly walLogHints: boolean
  readonly maxConnections: number
  readonly maxWorkerProcesses: number
  readonly maxWalSenders: number
  readonly maxPreparedTransactions: number
  readonly maxLocksPerTransaction: number
  readonly trackCommitTimestamp: boolean
  /** `block_size`: bytes of a page. */
  readonly blockSize: number
  /** Pages in a segment file of a relation. */
  readonly relationSegmentPages: number
  readonly walBlockSize: number
  readonly walSegmentBytes: number
  /** 0 = pages carry no checksums. */
  readonly dataChecksumVersion: number
}

/** In the order of PostgreSQL's `DBState`. */
const states = ['starting up', 'shut down', 'shut down in recovery', 'shutting down', 'in crash recovery', 'in archive recovery', 'in production'] as const
const walLevels = ['minimal', 'replica', 'logical'] as const

export type ClusterState = (typeof states)[number]

/** `PG_CONTROL_VERSION` of 13 to 16, 17 and 18. */
const knownVersions = [1300, 1700, 1800]

/**
 * Reads the bytes of `global/pg_control`. Throws `integrity` when they are none of 13 to 18, or their CRC is wrong: read while the server
 * wrote them (read again then), or damaged.
 */
export function parseControlFile(bytes: Uint8Array): ControlFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < largestBytes) throw unreadable(`it has only ${bytes.length} bytes`)
  const version = view.getUint32(8, true)
  if (!knownVersions.includes(version)) throw ofAnotherServer(version, view.getUint32(8, false))
  const at = offsetsOf(version)
  if (crc32c(bytes.subarray(0, at('crc'))) !== view.getUint32(at('crc'), true)) throw unreadable('its checksum is wrong')

  const u32 = (field: Field) => view.getUint32(at(field), true)
  const u64 = (field: Field) => view.getBigUint64(at(field), true)
  const isSet = (field: Field) => view.getUint8(at(field)) !== 0
  return requirePossible({
    systemIdentifier: String(u64('systemIdentifier')),
    pgControlVersion: version,
    catalogVersion: u32('catalogVersion'),
    state: oneOf(states, u32('state'), 'state'),
    checkpointLsn: u64('checkpointLsn'),
    redoLsn: u64('redoLsn'),
    timeline: u32('timeline'),
    fullPageWrites: isSet('fullPageWrites'),
    minRecoveryLsn: u64('minRecoveryLsn'),
    minRecoveryTimeline: u32('minRecoveryTimeline'),
    walLevel: oneOf(walLevels, u32('walLevel'), 'wal_level'),
    walLogHints: isSet('walLogHints'),
    maxConnections: u32('maxConnections'),
    maxWorkerProcesses: u32('maxWorkerProcesses'),
    maxWalSenders: u32('maxWalSenders'),
    maxPreparedTransactions: u32('maxPreparedTransactions'),
    maxLocksPerTransaction: u32('maxLocksPerTransaction'),
    trackCommitTimestamp: isSet('trackCommitTimestamp'),
    blockSize: u32('blockSize'),
    relationSegmentPages: u32('relationSegmentPages'),
    walBlockSize: u32('walBlockSize'),
    walSegmentBytes: u32('walSegmentBytes'),
    dataChecksumVersion: u32('dataChecksumVersion'),
  })
}

/** The largest that PostgreSQL ever lets it grow, one sector; the file itself is filled up to 8 KiB. */
const largestBytes = 512

type FieldType = 'u64' | 'u32' | 'bool' | 'f64' | 'nonce'
const fieldBytes: Readonly<Record<FieldType, number>> = { u64: 8, u32: 4, bool: 1, f64: 8, nonce: 32 }
type Field = ReturnType<typeof layoutOf>[number][0]

function offsetsOf(version: number): (field: Field) => number {
  const offsets = new Map<Field, number>()
  let offset = 0
  for (const [field, type] of layoutOf(version)) {
    const alignment = type === 'nonce' ? 1 : fieldBytes[type]
    offset = Math.ceil(offset / alignment) * alignment
    offsets.set(field, offset)
    offset += fieldBytes[type]
  }
  return (field) => {
    const found = offsets.get(field)
    if (found === undefined) throw new Error(`no field ${field} in pg_control of version ${version}`)
    return found
  }
}

function oneOf<T>(values: readonly T[], index: number, field: string): T {
  const value = values[index]
  if (value === undefined) throw unreadable(`its ${field} is ${index}, which means nothing`)
  return value
}

/** Sizes that others divide and allocate by. */
function requirePossible(control: ControlFile): ControlFile {
  requirePowerOfTwo('block_size', control.blockSize, 1024, 32768)
  requirePowerOfTwo('wal_block_size', control.walBlockSize, 1024, 65536)
  requirePowerOfTwo('wal_segment_size', control.walSegmentBytes, 2 ** 20, 2 ** 30)
  if (control.relationSegmentPages === 0) throw unreadable('its segment files have no pages')
  return control
}

function requirePowerOfTwo(field: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(Math.log2(value)) || value < least || value > most) throw unreadable(`its ${field} is ${value}`)
}

function unreadable(why: string, hints: readonly string[] = []): Failure {
  return new Failure('integrity', `cannot read global/pg_control: ${why}`, { hints })
}

function ofAnotherServer(version: number, swapped: number): Failure {
  if (knownVersions.includes(swapped)) return unreadable('it comes from a machine of the other byte order', ['back that server up on a machine like its own'])
  return unreadable(`its layout ${version} is none of PostgreSQL 13 to 18`, ['is this a data directory of PostgreSQL 13 to 18?'])
}

/** `ControlFileData` of `catalog/pg_control.h`: fields in order, each aligned to its own size, and the CRC-32C of all before it at the end. */
function layoutOf(version: number) {
  return [
    ['systemIdentifier', 'u64'],
    ['pgControlVersion', 'u32'],
    ['catalogVersion', 'u32'],
    ['state', 'u32'],
    ['changedAt', 'u64'],
    ['checkpointLsn', 'u64'],
    // The copy of the last checkpoint record.
    ['redoLsn', 'u64'],
    ['timeline', 'u32'],
    ['previousTimeline', 'u32'],
    ['fullPageWrites', 'bool'],
    ...(version >= 1700 ? ([['checkpointWalLevel', 'u32']] as const) : []),
    ['nextXid', 'u64'],
    ['nextOid', 'u32'],
    ['nextMulti', 'u32'],
    ['nextMultiOffset', 'u32'],
    ['oldestXid', 'u32'],
    ['oldestXidDatabase', 'u32'],
    ['oldestMulti', 'u32'],
    ['oldestMultiDatabase', 'u32'],
    ['checkpointAt', 'u64'],
    ['oldestCommitTimestampXid', 'u32'],
    ['newestCommitTimestampXid', 'u32'],
    ['oldestActiveXid', 'u32'],
    // End of the copy.
    ['unloggedLsn', 'u64'],
    ['minRecoveryLsn', 'u64'],
    ['minRecoveryTimeline', 'u32'],
    ['backupStartLsn', 'u64'],
    ['backupEndLsn', 'u64'],
    ['backupEndRequired', 'bool'],
    ['walLevel', 'u32'],
    ['walLogHints', 'bool'],
    ['maxConnections', 'u32'],
    ['maxWorkerProcesses', 'u32'],
    ['maxWalSenders', 'u32'],
    ['maxPreparedTransactions', 'u32'],
    ['maxLocksPerTransaction', 'u32'],
    ['trackCommitTimestamp', 'bool'],
    ['maxAlign', 'u32'],
    ['floatFormat', 'f64'],
    ['blockSize', 'u32'],
    ['relationSegmentPages', 'u32'],
    ['walBlockSize', 'u32'],
    ['walSegmentBytes', 'u32'],
    ['nameDataLength', 'u32'],
    ['indexMaxKeys', 'u32'],
    ['toastMaxChunkBytes', 'u32'],
    ['largeObjectBlockBytes', 'u32'],
    ['float8ByValue', 'bool'],
    ['dataChecksumVersion', 'u32'],
    ...(version >= 1800 ? ([['defaultCharSigned', 'bool']] as const) : []),
    ['mockAuthenticationNonce', 'nonce'],
    ['crc', 'u32'],
  ] as const satisfies readonly (readonly [string, FieldType])[]
}
