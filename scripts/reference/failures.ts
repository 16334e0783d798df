import { failures } from '../../src/kernel/failure.ts'
import { isWritten } from './declarations.ts'
import { code, generated, table } from './markdown.ts'

const exitCodes: Readonly<Record<number, string>> = {
  0: 'done',
  1: 'failed; for `doctor`: something needs you; for `repo test`: a storage breaks a promise',
  2: 'the command line or the configuration cannot be used',
  3: 'done, but something was left out or an error was ignored',
  10: 'no repository there, or of a format that this version does not know',
  11: 'another run holds the lease of this cluster, or took it over',
  12: 'a key is missing or wrong',
  13: 'stored bytes are not what was written',
  14: 'the wanted moment or backup cannot be reached',
  15: 'refused: the target would be damaged, or a question needs a person or `--yes`',
  130: 'cancelled',
}

/** docs/reference/failures.md: the table of kernel/failure.ts. Throws for an exit code that is not explained. */
export function failuresPage(): string {
  for (const { exit } of Object.values(failures))
    if (exitCodes[exit] === undefined) throw new Error(`exit code ${exit} is not explained in scripts/reference/failures.ts`)
  return [
    generated,
    '',
    '# Failures and exit codes',
    '',
    'Every failure that Tidemark foresees has a code. People see it in the last line of the message, scripts in `--json`, programs as `error.code`:',
    '',
    '    ✗ what was tried and why it failed',
    '      → the next command to type, or what to look at',
    '      (code, exit N)',
    '',
    '    { "error": { "code": "…", "message": "…", "hints": ["…"], "exitCode": N } }',
    '',
    '## Exit codes',
    '',
    ...table(
      ['exit', 'meaning'],
      Object.entries(exitCodes).map(([exit, meaning]) => [exit, codesOf(Number(exit)).some(isUsed) || exit === '0' ? meaning : `${meaning}; ${unused}`]),
    ),
    '',
    '## Codes',
    '',
    'HTTP is the status that the HTTP API will answer with, once there is one.',
    '',
    ...table(
      ['code', 'exit', 'HTTP', 'meaning'],
      Object.entries(failures).map(([name, { exit, http, about }]) => [code(name), String(exit), String(http), isUsed(name) ? about : `${about}; ${unused}`]),
    ),
    '',
  ].join('\n')
}

/** Codes belong to the contract before anything fails with them: scripts may name them already. */
const unused = 'not used by this version'

function codesOf(wanted: number): string[] {
  return Object.entries(failures).flatMap(([name, { exit }]) => (exit === wanted ? [name] : []))
}

function isUsed(name: string): boolean {
  return isWritten(`'${name}'`, ['src/kernel/failure.ts'])
}
