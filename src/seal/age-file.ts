import { peek } from '../stream/peek.ts'
import { looksArmored, unarmored } from './age-armor.ts'
import { decryptAge, type OpeningKeys } from './age.ts'

/** White space may stand before text armor; more of it than this does not. */
const headBytes = 4096

/** What is in an age file of whoever made it, binary or with text armor. Throws as `decryptAge`; the keys are asked for only when it comes to opening. */
export async function* openAgeFile(source: AsyncIterable<Uint8Array>, keys: () => Promise<OpeningKeys>): AsyncGenerator<Uint8Array, void, undefined> {
  const { head, bytes } = await peek(source, headBytes)
  yield* decryptAge(looksArmored(head) ? unarmored(bytes) : bytes, await keys())
}
