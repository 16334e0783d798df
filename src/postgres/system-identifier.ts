import { isFailure } from '../kernel/failure.ts'
import type { Session } from './session.ts'

/** The number that initdb gave the cluster and its standbys. Null where the role may not ask, or a managed service has no such function. */
export async function readSystemIdentifier(session: Session): Promise<string | null> {
  try {
    const [row] = await session.query<{ id: string }>('SELECT system_identifier::text AS id FROM pg_catalog.pg_control_system()')
    return row?.id ?? null
  } catch (error) {
    if (isFailure(error, 'permission-denied', 'query-failed')) return null
    throw error
  }
}
