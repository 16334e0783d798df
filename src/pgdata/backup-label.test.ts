import { describe, expect, it } from 'vitest'
import { parseBackupLabel, withoutIncrementalLines } from './backup-label.ts'

const full = [
  'START WAL LOCATION: 0/3000028 (file 000000010000000000000003)',
  'CHECKPOINT LOCATION: 0/3000080',
  'BACKUP METHOD: streamed',
  'BACKUP FROM: primary',
  'START TIME: 2026-11-21 19:48:48 UTC',
  'LABEL: Tidemark: base & é',
  'START TIMELINE: 1',
  '',
].join('\n')
const incremental = `${full}INCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\n`
const parsed = {
  startLsn: 0x3000028n,
  startSegment: '000000010000000000000003',
  checkpointLsn: 0x3000080n,
  method: 'streamed',
  fromStandby: false,
  startTime: '2026-11-21 19:48:48 UTC',
  label: 'Tidemark: base & é',
  timeline: 1,
  incrementalFrom: null,
}
const parse = (text: string) => parseBackupLabel(Buffer.from(text))

describe('backup_label', () => {
  it('tells where recovery begins, and what an incremental backup is based on', () => {
    expect(parse(full)).toEqual(parsed)
    expect(parse(incremental)).toEqual({ ...parsed, incrementalFrom: { lsn: 0x2000028n, timeline: 1 } })
    expect(parse(full.replace('primary', 'standby')).fromStandby).toBe(true)
    expect(parse(full.replace('primary', 'master')).fromStandby).toBe(false)
  })

  it('loses nothing but its two incremental lines, byte for byte', () => {
    const odd = Buffer.concat([Buffer.from(incremental.replace('Tidemark', '\u00fc')), Buffer.from([])])
    expect(withoutIncrementalLines(odd).toString()).toBe(full.replace('Tidemark', '\u00fc'))
    expect(withoutIncrementalLines(Buffer.from(full)).toString()).toBe(full)
    const latin = Buffer.from(incremental, 'latin1')
    expect(withoutIncrementalLines(latin).equals(Buffer.from(full, 'latin1'))).toBe(true)
  })

  it('is refused when a line is missing, cut, there twice or not to be understood', () => {
    const lines = full.trimEnd().split('\n')
    for (const [index, line] of lines.entries()) {
      const without = `${lines.toSpliced(index, 1).join('\n')}\n`
      expect(() => parse(without), line).toThrow('has no line')
      expect(() => parse(`${full}${line}\n`), line).toThrow('twice')
    }
    expect(() => parse(full.slice(0, -1))).toThrow('cut')
    expect(() => parse('')).toThrow('cut')
    expect(() => parse(`${full}INCREMENTAL FROM LSN: 0/2000028\n`)).toThrow('half')
    expect(() => parse(full.replace('(file 0', '(file x'))).toThrow('start position')
    expect(() => parse(full.replace('0/3000080', 'somewhere'))).toThrow('LSN')
    expect(() => parse(full.replace('streamed', 'guessed'))).toThrow('method')
    expect(() => parse(full.replace('primary', 'nobody'))).toThrow('comes from')
    for (const timeline of ['0', '-1', '4294967296', '1 ', 'x']) expect(() => parse(full.replace('TIMELINE: 1', `TIMELINE: ${timeline}`))).toThrow('timeline')
  })

  it('cannot be given a second timeline by the text of its own label', () => {
    expect(() => parse(full.replace('base', 'base\nSTART TIMELINE: 7'))).toThrow('twice')
  })
})
