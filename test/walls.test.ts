import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rooms } from '../scripts/lint/rooms.mjs'

const root = resolve(import.meta.dirname, '..')

/** Each of these must be refused, by the rule and for the reason named. */
const offences: readonly (readonly [file: string, source: string, expected: RegExp])[] = [
  ['src/kernel/a.ts', "import { b } from '../storage/b.ts'\nexport const c = b\n", /src\/kernel may not import src\/storage/],
  ['src/storage/a.ts', "import type { B } from '../postgres/b.ts'\nexport type C = B\n", /src\/storage may not import src\/postgres/],
  ['src/postgres/a.ts', "export { b } from '../storage/b.ts'\n", /src\/postgres may not import src\/storage/],
  ['src/postgres/deep/b.ts', "export * from '../../repository/b.ts'\n", /src\/postgres may not import src\/repository/],
  ['src/backup/a.ts', "export const c = () => import('../restore/b.ts')\n", /src\/backup may not import src\/restore/],
  ['src/restore/a.ts', "export type B = import('../verify/b.ts').B\n", /src\/restore may not import src\/verify/],
  ['src/config/a.ts', "import { b } from '../storage/b.ts'\nexport const c = b\n", /src\/config may not import src\/storage/],
  ['src/api/a.ts', "import { b } from '../cli/b.ts'\nexport const c = b\n", /src\/api may not import src\/cli/],
  ['src/dump/a.ts', "import { b } from '../../test/support/b.ts'\nexport const c = b\n", /not part of the program/],
  ['src/cellar/a.ts', 'export const b = 1\n', /src\/cellar is not a room/],
  ['src/dump/clock1.ts', 'export const b = Date.now()\n', /clock is read only/],
  ['src/dump/clock2.ts', 'export const b = new Date()\n', /clock is read only/],
  ['src/dump/clock3.ts', 'export const b = Temporal.Now.instant()\n', /clock is read only/],
  ['src/dump/clock4.ts', 'export const b = performance.now()\n', /clock is read only/],
  ['src/dump/process1.ts', "export const b = process.env['HOME']\n", /process is touched only/],
  ['src/dump/process2.ts', "import { pid } from 'node:process'\nexport const b = pid\n", /process is touched only/],
  ['src/cli/out.ts', "process.stdout.write('x')\n", /stdout is written only/],
  ['src/cli/log.ts', "console.log('x')\n", /no-console/],
  ['src/dump/shell1.ts', "import { spawn } from 'node:child_process'\nspawn('ls', [], { shell: true })\n", /no shell ever/],
  ['src/dump/shell2.ts', "import { exec } from 'node:child_process'\nexec('ls')\n", /no shell ever/],
  ['src/dump/any.ts', 'export const b = (c: any) => c\n', /no-explicit-any/],
  ['src/dump/default.ts', 'export default 1\n', /no-default-export/],
  ['src/dump/floating.ts', 'const b = async () => 1\nexport function c() {\n  b()\n}\n', /no-floating-promises/],
  [
    'src/dump/switch.ts',
    "export function c(kind: 'a' | 'b') {\n  switch (kind) {\n    case 'a':\n      return 1\n  }\n  return 2\n}\n",
    /switch-exhaustiveness-check/,
  ],
  ['src/dump/name1.ts', 'export class DumpManager {}\n', /says nothing/],
  ['src/dump/name2.ts', 'export function dumpHelper() {}\n', /says nothing/],
  ['src/dump/dump-utils.ts', 'export const b = 1\n', /file name ends in "utils"/],
]

/** And these must pass, or the rules above would refuse everything. */
const innocent: readonly (readonly [file: string, source: string])[] = [
  [
    'src/backup/good.ts',
    "import { b } from '../kernel/b.ts'\nimport { b as c } from '../repository/b.ts'\nimport { b as d } from './other.ts'\nexport const e = [b, c, d, new Date(0)]\n",
  ],
  ['src/config/good.ts', "import type { B } from '../postgres/b.ts'\nimport { type B as C } from '../storage/b.ts'\nexport type D = [B, C]\n"],
  ['src/cli/good.ts', "import { b } from '../api/b.ts'\nexport const c = [b, process.env['HOME']]\n"],
  ['src/kernel/clock.ts', 'export const now = () => Date.now()\n'],
  ['src/cli/render/good.ts', "export const b = () => process.stdout.write('x')\n"],
  ['src/dump/own-name.ts', 'export const b = (process: { env: string }) => process.env\n'],
]

let found: readonly { readonly filename: string; readonly message: string; readonly code: string }[] = []
let directory: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tidemark-walls-'))
  // The type-aware rules look for their program, and for @types/node, from here.
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'))
  await writeFile(join(directory, 'tsconfig.json'), await readFile(join(root, 'tsconfig.json')))
  const rest = Object.keys(rooms).map((room) => [`src/${room}/b.ts`, 'export const b = 1\nexport type B = number\n'] as const)
  for (const [file, source] of [...rest, ['src/backup/other.ts', 'export const b = 1\n'] as const, ...offences, ...innocent]) {
    await mkdir(dirname(join(directory, file)), { recursive: true })
    await writeFile(join(directory, file), source)
  }
  const linted = await promisify(execFile)(
    process.execPath,
    [join(root, 'node_modules/oxlint/bin/oxlint'), '-c', join(root, '.oxlintrc.json'), '-f', 'json', 'src'],
    { cwd: directory },
  ).catch((error: unknown) => error as { stdout: string })
  const { diagnostics } = JSON.parse(linted.stdout) as { diagnostics: typeof found }
  found = diagnostics
})

afterAll(() => rm(directory, { recursive: true, force: true }))

describe('the walls of CODING.md', () => {
  it.each(offences)('refuse %s', (file, _source, expected) => {
    const said = found.filter(({ filename }) => filename.endsWith(file)).map(({ code, message }) => `${code}: ${message}`)
    expect(said.join('\n')).toMatch(expected)
  })

  it.each(innocent)('let %s pass', (file) => {
    expect(found.filter(({ filename }) => filename.endsWith(file))).toEqual([])
  })

  it('know every room of src', async () => {
    const folders = (await readdir(join(root, 'src'), { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name)
    expect(Object.keys(rooms)).toEqual(expect.arrayContaining(folders))
  })

  it('never let two rooms import each other', () => {
    for (const [room, { imports, types }] of Object.entries(rooms)) {
      for (const other of [...imports, ...types]) expect(rooms[other]?.imports ?? [], `${room} ↔ ${other}`).not.toContain(room)
    }
  })
})
