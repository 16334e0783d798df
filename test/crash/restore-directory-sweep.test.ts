import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { restoreDirectory } from '../../src/api/restore-directory.ts'
import { takeBackups } from '../../src/api/take-backups.ts'
import { systemClock } from '../../src/kernel/clock.ts'
import { memoryStorage } from '../../src/storage/memory.ts'
import type { Storage } from '../../src/storage/storage.ts'
import { faultyStorage } from '../support/faulty-storage.ts'
import { debianClients, stockProgram } from '../support/stock-tools.ts'
import { sweepRoom, type SweepRoom } from '../support/sweep-room.ts'
import { endingOf, everyPlan, isComplete, nameOf, seeded } from '../support/sweep.ts'

let room: SweepRoom
let storage: Storage
let parent: string
beforeAll(async () => {
  room = await sweepRoom()
  storage = memoryStorage({ clock: systemClock })
  parent = await mkdtemp(join(tmpdir(), 'tidemark-restore-sweep-'))
  // With the server's manifest, by which pg_verifybackup judges.
  await takeBackups(room.workspace(storage), { type: 'full', reader: 'stream' })
})
afterAll(async () => {
  await rm(parent, { recursive: true, force: true })
  await room[Symbol.asyncDispose]()
})

const restoreTo = (into: string, from: Storage) => restoreDirectory(room.workspace(from), { into })
const isThere = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  )

describe('a restore to a directory', () => {
  it(
    'that is killed or fails at any operation of its storage leaves a directory in which no server starts, and the same command completes it',
    { timeout: isComplete ? 3_600_000 : 240_000 },
    async () => {
      const rehearsal = faultyStorage(storage)
      expect(await endingOf(() => restoreTo(join(parent, 'rehearsal'), rehearsal))).toMatchObject({ kind: 'done' })
      const plans = everyPlan(rehearsal.operations)
      const wrong: string[] = []
      for (const [number, plan] of seeded(plans, isComplete ? 1 : 0.15, 2026).entries()) {
        const directory = join(parent, `copy-${number}`)
        const say = (problem: string) => wrong.push(`${nameOf(plan, rehearsal.operations)}: ${problem}`)
        const ending = await endingOf(() => restoreTo(directory, faultyStorage(storage, plan)))
        if (ending.kind === 'bug') say(ending.message)
        const hasMarker = await isThere(join(directory, 'tidemark-restore.json'))
        const hasControl = await isThere(join(directory, 'global/pg_control'))
        if (hasControl !== (ending.kind === 'done')) say(`it ended ${ending.kind}, and pg_control is ${hasControl ? '' : 'not '}there`)
        if (hasMarker && hasControl) say('a half restored directory has a pg_control')
        if (ending.kind !== 'done') {
          const again = await endingOf(() => restoreTo(directory, storage))
          if (again.kind !== 'done') say(`the same command did not complete it: ${JSON.stringify(again)}`)
        }
        const judged = await stockProgram(join(debianClients, 'pg_verifybackup'), ['--no-parse-wal', directory])
        if (judged.exitCode !== 0) say(`pg_verifybackup: ${judged.stderr}`)
        await rm(directory, { recursive: true, force: true })
      }
      expect(plans.length).toBeGreaterThan(10)
      expect(wrong).toEqual([])
    },
  )
})
