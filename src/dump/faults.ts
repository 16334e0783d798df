import { Failure } from '../kernel/failure.ts'

/** The dump ends before its structure does: the program that wrote it died, or the file was cut. */
export function cutOff(fact: string, offset: number): Failure {
  return new Failure('dump-empty', `the dump is not complete: ${fact}`, {
    hints: ['take the backup again; of this file only the part before the cut can be read'],
    details: { offset },
  })
}

/** The dump's structure contradicts itself. */
export function malformed(fact: string, offset: number): Failure {
  return new Failure('integrity', `the dump is damaged: ${fact} (at byte ${offset})`, {
    hints: ['restore another backup, or copy this file again from where it came'],
    details: { offset },
  })
}
