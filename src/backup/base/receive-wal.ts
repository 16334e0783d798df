import type { Context } from '../../kernel/context.ts'
import { requireWalSegment, walSegmentHeaderBytes, walSegmentName, walSegmentNumber, walSegmentStart } from '../../pgdata/wal-segment.ts'
import type { BaseBackupStart } from '../../postgres/replication/base-backup.ts'
import { createTemporarySlot } from '../../postgres/replication/replication-commands.ts'
import { receiveWal, WalSteering } from '../../postgres/replication/wal-receiver.ts'
import type { ByteCount } from './byte-count.ts'
import { promoted } from './cluster-read.ts'
import type { FileLane } from './file-lane.ts'
import type { BaseSource } from './open-base-source.ts'

/** The WAL that a backup needs, received beside it. */
export interface BackupWal {
  /** The server said where the backup begins: from there on it is received. */
  begin(start: Pick<BaseBackupStart, 'startLsn' | 'startTimeline'>): void
  /** Throws what the receiving failed with: without its WAL the rest of the backup is worth nothing. */
  requireComing(): void
  /** Resolves when every byte before `stopLsn` was handed to the lane and looked at. */
  finish(stopLsn: bigint): Promise<void>
}

export interface BackupWalOptions {
  /** Of its own: it ends with the WAL. */
  readonly lane: FileLane
  /** Names the slot: one for each try of a run, for a temporary slot stays as long as its connection. */
  readonly label: string
  readonly counted: ByteCount
}

/** Reserves WAL by a temporary slot, which must be made before the backup begins. */
export async function reserveWal(
  { wal, facts }: Pick<BaseSource, 'wal' | 'facts'>,
  { lane, label, counted }: BackupWalOptions,
  { clock }: Context,
): Promise<BackupWal> {
  const { walSegmentBytes } = facts
  const slot = await createTemporarySlot(wal, { major: facts.major, name: `tidemark_${label.replaceAll(/[^a-z0-9]/g, '_')}` })
  const steering = new WalSteering()
  const files = walWriter(lane, facts)
  let receiving: Promise<void> | null = null
  let failure: { readonly error: unknown } | null = null

  const receive = async ({ startLsn, startTimeline }: Pick<BaseBackupStart, 'startLsn' | 'startTimeline'>): Promise<void> => {
    const from = walSegmentStart(walSegmentNumber(startLsn, walSegmentBytes), walSegmentBytes)
    const outcome = await receiveWal(
      wal,
      { slot: slot.name, startLsn: from, timeline: startTimeline, steering, clock },
      {
        wal: (lsn, bytes) => {
          counted.add(bytes.length)
          const waiting = files.write(lsn, bytes)
          steering.flushedTo(lsn)
          return waiting
        },
      },
    )
    if (outcome.kind === 'timeline-ended') throw promoted(startTimeline, outcome.nextTimeline)
  }
  const requireComing = (): void => {
    if (failure !== null) throw failure.error
  }
  return {
    begin: (start) => {
      if (start.startTimeline !== facts.timeline) throw promoted(facts.timeline, start.startTimeline)
      receiving = receive(start).catch((error: unknown) => {
        failure = { error }
      })
    },
    requireComing,
    finish: async (stopLsn) => {
      steering.stopAt(stopLsn)
      await receiving
      requireComing()
      await files.finish()
      await lane.finish()
    },
  }
}

/** WAL as the files of pg_wal, each as long as a segment is: what the server did not fill is zeros. */
function walWriter(lane: FileLane, { walSegmentBytes, timeline, major, systemIdentifier }: BaseSource['facts']) {
  let open = false
  /** The first bytes of the open segment, until it is clear that it is what its name says. */
  let beginning = Buffer.alloc(0)
  const judge = (lsn: bigint, bytes: Uint8Array): void => {
    if (beginning.length >= walSegmentHeaderBytes) return
    beginning = Buffer.concat([beginning, bytes.subarray(0, walSegmentHeaderBytes - beginning.length)])
    const name = walSegmentName({ timeline, number: walSegmentNumber(lsn, walSegmentBytes) }, walSegmentBytes)
    if (beginning.length === walSegmentHeaderBytes) requireWalSegment(beginning, { name, major, systemIdentifier, walSegmentBytes })
  }
  /** Behind the last byte that came: the server may send more than the backup needs. */
  let end = 0n
  const write = (lsn: bigint, bytes: Uint8Array): void | Promise<void> => {
    end = lsn + BigInt(bytes.length)
    const offset = Number(lsn % BigInt(walSegmentBytes))
    const put = (): void | Promise<void> => {
      judge(lsn, bytes)
      const waiting = lane.write(bytes)
      if (offset + bytes.length < walSegmentBytes) return waiting
      const close = (): void => {
        lane.end()
        open = false
      }
      return waiting instanceof Promise ? waiting.then(close) : close()
    }
    if (open) return put()
    open = true
    beginning = Buffer.alloc(0)
    const number = walSegmentNumber(lsn, walSegmentBytes)
    const begun = lane.begin({ path: `pg_wal/${walSegmentName({ timeline, number }, walSegmentBytes)}`, mode: 0o600, sizeBytes: walSegmentBytes })
    return begun instanceof Promise ? begun.then(put) : put()
  }
  return {
    write,
    finish: async (): Promise<void> => {
      const zeros = Buffer.alloc(64 << 10)
      while (open) await write(end, zeros.subarray(0, Math.min(zeros.length, walSegmentBytes - Number(end % BigInt(walSegmentBytes)))))
    },
  }
}
