import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { referencePages } from '../../scripts/reference/pages.ts'
import { createProgram } from '../../src/cli/program.ts'
import { failures } from '../../src/kernel/failure.ts'

const directory = join(import.meta.dirname, '../../docs/reference')
const pages = referencePages()

describe('the generated reference', () => {
  it.each(Object.keys(pages))('docs/reference/%s says what the code does (else run: make reference)', async (name) => {
    expect(await readFile(join(directory, name), 'utf8')).toBe(pages[name])
  })

  it('holds no page that nothing generates', async () => {
    expect((await readdir(directory)).toSorted()).toEqual(Object.keys(pages).toSorted())
  })

  it('names every failure and every option that --help shows', () => {
    for (const code of Object.keys(failures)) expect(pages['failures.md']).toContain(`| \`${code}\` |`)
    for (const command of createProgram().commands.filter((each) => !(each as unknown as { _hidden: boolean })._hidden && each.name() !== 'help')) {
      expect(pages['cli.md']).toContain(`tidemark ${command.name()}`)
      for (const option of command.options.filter((each) => !each.hidden)) expect(pages['cli.md'], `${command.name()} ${option.flags}`).toContain(`\`${option.flags}\``)
    }
  })
})
