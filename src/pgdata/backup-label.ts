import { Failure } from '../kernel/failure.ts'
import { parseLsn } from './lsn.ts'

/** What `backup_label` tells a server that recovers from a base backup. */
export interface BackupLabel {
  /** Where recovery begins: the redo position of the backup's checkpoint. */
  readonly startLsn: bigint
  /** Name of the WAL segment that holds it. */
  readonly startSegment: string
  readonly checkpointLsn: bigint
  /** `pg_start_backup` is the exclusive method, which ended with 14. */
  readonly method: 'streamed' | 'pg_start_backup'
  readonly fromStandby: boolean
  /** As the server wrote it, in its own time zone. */
  readonly startTime: string
  readonly label: string
  readonly timeline: number
  /** The backup that this one, an incremental one of 17 or later, is based on; null for a full one. */
  readonly incrementalFrom: { readonly lsn: bigint; readonly timeline: number } | null
}

/** Reads the file. Throws `integrity` when a line is missing, stands there twice or cannot be read. */
export function parseBackupLabel(bytes: Uint8Array): BackupLabel {
  const lines = linesOf(bytes)
  const required = (name: string) => lines.get(name) ?? fail(`it has no line ${name}`)
  const start = /^(\S+) \(file ([0-9A-F]{24})\)$/.exec(required('START WAL LOCATION'))
  if (start?.[1] === undefined || start[2] === undefined) return fail('its start position cannot be read')
  const method = required('BACKUP METHOD')
  if (method !== 'streamed' && method !== 'pg_start_backup') return fail(`its method is ${JSON.stringify(method)}`)
  const from = required('BACKUP FROM')
  if (!['primary', 'master', 'standby'].includes(from)) fail(`it comes from ${JSON.stringify(from)}`)
  const [baseLsn, baseTimeline] = [lines.get('INCREMENTAL FROM LSN'), lines.get('INCREMENTAL FROM TLI')]
  if ((baseLsn === undefined) !== (baseTimeline === undefined)) fail('it names half of the backup that it is based on')
  return {
    startLsn: parseLsn(start[1]),
    startSegment: start[2],
    checkpointLsn: parseLsn(required('CHECKPOINT LOCATION')),
    method,
    fromStandby: from === 'standby',
    startTime: required('START TIME'),
    label: Buffer.from(required('LABEL'), 'latin1').toString('utf8'),
    timeline: timelineOf(required('START TIMELINE')),
    incrementalFrom: baseLsn === undefined || baseTimeline === undefined ? null : { lsn: parseLsn(baseLsn), timeline: timelineOf(baseTimeline) },
  }
}

/** The same label for a data directory in which nothing incremental is left: byte for byte, but for those two lines. */
export function withoutIncrementalLines(bytes: Uint8Array): Buffer {
  const kept = textOf(bytes).replaceAll(/^INCREMENTAL FROM (?:LSN|TLI): .*\n/gm, '')
  return Buffer.from(kept, 'latin1')
}

/** `NAME: value` each; what is not of that form (a label of several lines) or not known says nothing to us. */
function linesOf(bytes: Uint8Array): ReadonlyMap<string, string> {
  const text = textOf(bytes)
  if (!text.endsWith('\n')) fail('it is cut')
  const lines = new Map<string, string>()
  for (const line of text.slice(0, -1).split('\n')) {
    const [, name, value] = /^([A-Z][A-Z ]+): (.*)$/.exec(line) ?? []
    if (name === undefined || value === undefined) continue
    if (lines.has(name)) fail(`its line ${name} stands there twice`)
    lines.set(name, value)
  }
  return lines
}

/** Byte for byte, whatever the encoding of the label's text. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

function timelineOf(text: string): number {
  const timeline = /^[1-9]\d{0,9}$/.test(text) ? Number(text) : 0
  if (timeline === 0 || timeline >= 2 ** 32) fail(`its timeline is ${JSON.stringify(text)}`)
  return timeline
}

function fail(why: string): never {
  throw new Failure('integrity', `cannot read backup_label: ${why}`)
}
