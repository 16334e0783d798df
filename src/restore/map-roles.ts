import { createReadStream } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { readToc } from '../dump/archive-toc.ts'
import { rewriteToc } from '../dump/rewrite-toc.ts'
import { mapEntryRoles } from '../dump/role-texts.ts'
import type { Context } from '../kernel/context.ts'
import { Failure } from '../kernel/failure.ts'
import type { Session } from '../postgres/session.ts'
import type { DumpSource, Manifest } from '../repository/manifest.ts'
import { writeToStage, type StagedDump } from './staged-dump.ts'

/** Other roles in the place of those that a dump names: from each name to its new one, all at once. */
export type RoleMap = ReadonlyMap<string, string>

/**
 * Writes the new roles into the table of contents of a staged archive: owners, grants, default privileges, policies and user mappings. The server is not involved, so no role
 * is made, changed or dropped there, and it does not matter whether the old ones exist. Returns the roles that do not occur in the dump.
 */
export async function mapStagedRoles(staged: StagedDump, roles: RoleMap, context: Context): Promise<readonly string[]> {
  if (staged.format === 'plain')
    throw new Failure('usage-invalid', 'roles cannot be replaced in a plain SQL dump', {
      hints: ['restore it without owners and grants where its roles do not exist, or edit the file'],
    })
  const path = staged.format === 'directory' ? join(staged.path, 'toc.dat') : staged.path
  const toc = await readToc(createReadStream(path, { signal: context.signal }))
  const names = namesIn(toc.encoding, roles)
  const met = new Set<string>()
  const find = (name: string) => {
    const other = names.get(name)
    if (other !== undefined) met.add(name)
    return other
  }
  const next = join(dirname(path), 'toc.mapped')
  await using source = await open(path)
  await using output = await open(next, 'wx', 0o600)
  const { buffer } = await source.read(Buffer.alloc(toc.sizeBytes), 0, toc.sizeBytes, 0)
  await writeToStage(
    output,
    rewriteToc(buffer, toc, (entry) => mapEntryRoles(entry, find)),
  )
  for await (const chunk of source.createReadStream({ start: toc.sizeBytes, highWaterMark: 1024 * 1024, autoClose: false, signal: context.signal }))
    await writeToStage(output, chunk as Uint8Array)
  await rename(next, path)
  return [...roles.keys()].filter((name) => !met.has(bytesOf(name, toc.encoding)))
}

function namesIn(encoding: string, roles: RoleMap): ReadonlyMap<string, string> {
  return new Map([...roles].map(([from, to]) => [bytesOf(from, encoding), bytesOf(to, encoding)]))
}

/** A name as the archive has it: its bytes as Latin 1. */
function bytesOf(name: string, encoding: string): string {
  // oxlint-disable-next-line no-control-regex -- ASCII is what every encoding has in common
  if (/^[\x00-\x7f]*$/.test(name)) return name
  if (encoding === 'UTF8') return Buffer.from(name).toString('latin1')
  throw new Failure('usage-invalid', `the role "${name}" cannot be written into this dump, whose encoding is ${encoding}`, {
    hints: ['use a role of ASCII letters, and rename it afterwards: ALTER ROLE … RENAME TO …'],
  })
}

/** A manifest with the new roles in the place of the old ones, as the copy is to be like: the database's owner, privileges and settings are not in the dump. */
export function mapManifestRoles(manifest: Manifest, roles: RoleMap): Manifest {
  const { source, fingerprint } = manifest
  // The only objects of which a role is the name.
  const renamed = (tag: string) => {
    for (const [from, to] of roles) if (tag.startsWith(`USER MAPPING ${from} SERVER `)) return `USER MAPPING ${to}${tag.slice(`USER MAPPING ${from}`.length)}`
    return tag
  }
  return {
    ...manifest,
    source: source === null ? null : mapSourceRoles(source, roles),
    fingerprint:
      fingerprint === null
        ? null
        : { ...fingerprint, derived: fingerprint.derived.map((object) => (object.desc === 'USER MAPPING' ? { ...object, tag: renamed(object.tag) } : object)) },
  }
}

function mapSourceRoles(source: DumpSource, roles: RoleMap): DumpSource {
  const put = (name: string) => roles.get(name) ?? name
  return {
    ...source,
    owner: source.owner === null ? null : put(source.owner),
    roles: [...new Set(source.roles.map(put))],
    acl: source.acl?.map((item) => mapAclItem(item, put)) ?? null,
    settings: source.settings.map((setting) => {
      const cut = setting.indexOf('\t')
      return (cut < 0 ? '' : put(setting.slice(0, cut)) + '\t') + mapRoleSetting(setting.slice(cut + 1), put)
    }),
  }
}

/** `role=name`, the one setting whose value is a role; sessions of that database begin with it. */
function mapRoleSetting(assignment: string, put: (name: string) => string): string {
  return assignment.startsWith('role=') ? `role=${put(assignment.slice('role='.length))}` : assignment
}

/** `grantee=privileges/grantor`; a grantee with odd characters is in double quotes, and none is PUBLIC. */
function mapAclItem(item: string, put: (name: string) => string): string {
  const match = /^(?:"((?:[^"]|"")*)"|([^"=]+))(=.*)$/s.exec(item)
  if (match === null) return item
  return `"${put(match[1]?.replaceAll('""', '"') ?? match[2] ?? '').replaceAll('"', '""')}"${match[3] ?? ''}`
}

/**
 * Looks whether anything in a new copy still belongs to a role that was replaced, or is granted to it: an extension's script or SQL that was run may have done that.
 * So may a function that sets a role while it runs, which is in the function's text. Said, never changed.
 */
export async function findReplacedRoles(session: Session, roles: RoleMap): Promise<readonly string[]> {
  const gone = [...roles.keys()].filter((name) => ![...roles.values()].includes(name))
  const rows = await session.query<{ role: string; count: string }>(
    `SELECT r.rolname AS role, count(*)::text AS count FROM pg_catalog.pg_shdepend d JOIN pg_catalog.pg_roles r ON r.oid = d.refobjid
     WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND r.rolname = ANY ($1::text[])
       AND d.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) GROUP BY 1 ORDER BY 1`,
    [gone],
  )
  const functions = await session.query<{ name: string; config: string }>(
    `SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname) || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' AS name, c.config
     FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace, pg_catalog.unnest(p.proconfig) AS c(config)
     WHERE c.config = ANY ($1::text[]) ORDER BY 1`,
    [[...roles.keys()].flatMap((name) => [`role=${name}`, `session_authorization=${name}`])],
  )
  return [
    ...rows.map(
      ({ role, count }) =>
        `${count} objects or grants in the copy still name role "${role}", which --role-map was to replace: SELECT pg_describe_object(classid, objid, objsubid) FROM pg_shdepend`,
    ),
    ...functions.map(
      ({ name, config }) =>
        `function ${name} still has SET ${config.replace('=', ' TO ')}, a role that --role-map was to replace in owners and grants: ALTER FUNCTION ${name} SET …`,
    ),
  ]
}
