import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { tidemarkRoom } from '../support/tidemark-cli.ts'

interface FailureDocument {
  readonly error: { readonly code: string; readonly message: string; readonly hints: readonly string[]; readonly exitCode: number }
}

const config = `clusters:
  nexo: { url: "postgresql://app:x@127.0.0.1:9/nexo", repositories: [local] }
  audit: { url: "postgresql://app:x@127.0.0.1:9/audit", repositories: [local] }
repositories:
  local: { path: ./backups }
`

describe('a mistake in the command line', () => {
  it.each([
    [['backup', '--frob', '--json'], '--frob'],
    [['--json', 'frobnicate'], 'frobnicate'],
    [['list', '--json', '--category', 'hourly'], 'hourly'],
    [['list', '--progress', 'loud', '--json'], 'loud'],
    [['repo', '--json'], 'command is missing'],
    [['--json'], 'command is missing'],
    [['wal', 'status', '--json'], 'tidemark wal'],
    [['delete', '--json'], 'which backup'],
  ])('%j is one JSON document too, and exit 2', async (args, named) => {
    await using room = await tidemarkRoom()
    const end = await room.run(args)
    expect(end.exitCode).toBe(2)
    const { error } = end.json<FailureDocument>()
    expect(error).toMatchObject({ code: 'usage-invalid', exitCode: 2, hints: expect.any(Array) as string[] })
    expect(error.message).toContain(named)
  })

  it('prints nothing on stdout without --json, nor when help is asked for with it where it is no mistake', async () => {
    await using room = await tidemarkRoom()
    expect(await room.run(['backup', '--frob'])).toMatchObject({ exitCode: 2, stdout: '' })
    expect(await room.run(['backup', '--help'])).toMatchObject({ exitCode: 0, stderr: '', stdout: expect.stringContaining('Usage: tidemark backup') as string })
    expect(await room.run(['--version'])).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) as string })
  })

  it.each(['check', 'runbook', 'checklist', 'erase', 'logs', 'report', 'pause', 'resume'])(
    '%s is known as a command of a later version, not taken for a typo',
    async (name) => {
      await using room = await tidemarkRoom()
      const end = await room.run([name, 'nexo', '--whatever'])
      expect(end.exitCode).toBe(2)
      expect(end.stderr).toContain(`"tidemark ${name}" comes with a later version`)
    },
  )
})

describe('flags that every command has', () => {
  it('may stand before the verb, with their values', async () => {
    await using room = await tidemarkRoom()
    await writeFile(join(room.directory, 'other.yaml'), config)
    const end = await room.run(['--json', '--config', 'other.yaml', '--progress=none', 'config', '--quiet', 'show'])
    expect(end).toMatchObject({ exitCode: 0, stderr: '' })
    expect(end.json<{ configFile: string }>().configFile).toBe(join(room.directory, 'other.yaml'))
    // A word of the command is never taken for one of ours.
    expect((await room.run(['--config', 'list', '--json', 'list'])).json<FailureDocument>().error.code).toBe('config-invalid')
  })

  it('take one value each, so that the cluster behind them stays the cluster', async () => {
    await using room = await tidemarkRoom()
    await writeFile(join(room.directory, 'tidemark.yaml'), config)
    const end = await room.run(['list', '--progress', 'none', '--repo', 'local', '--category', 'daily', 'nosuch', '--json'])
    // Had a flag eaten its neighbour, another word would be at fault.
    expect(end.json<FailureDocument>().error).toMatchObject({ code: 'repository-missing', message: expect.stringContaining('backups') as string })
    const backup = await room.run(['backup', '--table', 'a', '--table', 'b', '--repo', 'local', 'nosuch', '--dry-run', '--json'])
    expect(backup.json<FailureDocument>().error).toMatchObject({ code: 'usage-invalid', message: 'no cluster is called "nosuch"' })
  })
})

describe('words that contradict each other', () => {
  it.each([
    [['backup', 'nexo', '--cluster', 'audit', '--dry-run']],
    [['list', 'nexo', '--cluster', 'audit']],
    [['latest', 'nexo', '--cluster', 'audit']],
    [['doctor', 'nexo', '--cluster', 'audit']],
    [['verify', 'nexo', '--cluster', 'audit']],
    [['drill', 'nexo', '--cluster', 'audit']],
    [['drill', 'nexo', 'audit']],
    [['drill', '20260101', '--backup', '20260102']],
    [['show', 'one', '--backup', 'other']],
    [['show', 'nexo', '--cluster', 'audit']],
    [['delete', 'nexo', '--yes']],
  ])('%j is exit 2', async (args) => {
    await using room = await tidemarkRoom()
    await writeFile(join(room.directory, 'tidemark.yaml'), config)
    const end = await room.run([...args, '--json'])
    expect({ exitCode: end.exitCode, code: end.json<FailureDocument>().error.code }).toEqual({ exitCode: 2, code: 'usage-invalid' })
    expect((await readdir(room.directory)).toSorted()).toEqual(['tidemark.yaml', 'work'])
  })

  it.each(['latest', '20260101', 'nexo'])('%s beside a file of that name has two meanings', async (word) => {
    await using room = await tidemarkRoom()
    await writeFile(join(room.directory, 'tidemark.yaml'), config)
    await writeFile(join(room.directory, word), 'not a dump')
    for (const verb of ['verify', 'drill', 'show', 'restore']) {
      const end = await room.run([verb, word, '--json'])
      expect({ verb, exitCode: end.exitCode }).toEqual({ verb, exitCode: 2 })
      expect(end.json<FailureDocument>().error.hints.join()).toContain(`./${word}`)
    }
  })
})

describe('s3://bucket/prefix/file as a backup', () => {
  it.each(['verify', 'show', 'drill', 'restore', 'pin', 'delete'])(
    '%s: in no configured bucket it is exit 2 with the way to configure it, never a local path',
    async (verb) => {
      await using room = await tidemarkRoom()
      await writeFile(join(room.directory, 'tidemark.yaml'), config)
      const end = await room.run([verb, 's3://acme/db/shop_20260101.dump.zst', '--json'])
      expect(end.exitCode).toBe(2)
      const { error } = end.json<FailureDocument>()
      expect(error.message).toContain('no configured repository')
      expect(error.hints.join()).toContain('acme')
      expect(`${end.stdout}${end.stderr}`).not.toContain(room.directory)
    },
  )
})

describe('init', () => {
  it('says that the file of --url is not there, and that the work directory cannot be used: no bugs of ours', async () => {
    await using room = await tidemarkRoom()
    const missing = await room.run(['init', '--url', 'file:missing', '--yes', '--json'])
    expect(missing.exitCode).toBe(2)
    expect(missing.json<FailureDocument>().error).toMatchObject({ code: 'usage-invalid', message: expect.stringContaining('file:missing') as string })
    await writeFile(join(room.directory, 'file'), '')
    const work = await room.run(['init', '--url', 'postgresql://app@127.0.0.1:9/x', '--yes', '--json'], {
      TIDEMARK_WORK_DIR: join(room.directory, 'file/work'),
    })
    expect(work.exitCode).toBe(2)
    expect(work.json<FailureDocument>().error).toMatchObject({ code: 'config-invalid', message: expect.stringContaining('file/work') as string })
    expect((await readdir(room.directory)).toSorted()).toEqual(['file', 'work'])
  })
})
