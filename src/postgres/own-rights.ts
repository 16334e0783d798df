import type { Session } from './session.ts'

/** What the role of a session may do on its server as a whole. */
export interface OwnRights {
  readonly isSuperuser: boolean
  /** May create databases, as every superuser may. */
  readonly createDb: boolean
}

export async function readOwnRights(session: Session): Promise<OwnRights> {
  const [row] = await session.query<{ create: boolean; super: boolean }>(
    'SELECT rolcreatedb OR rolsuper AS create, rolsuper AS super FROM pg_catalog.pg_roles WHERE rolname = current_user',
  )
  return { createDb: row?.create === true, isSuperuser: row?.super === true }
}
