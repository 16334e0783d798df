// Completes package-lock.json: one entry for every platform package that a locked package names. A registry mirror may not carry
// the packages of other systems; npm then leaves them out of the lock without a word, after which `npm ci` refuses the lock, and
// elsewhere installs a tree that cannot run. Run it after every change of dependencies (`make lock`). It adds entries by name,
// version and platform, and invents no checksums. With `--check` it changes nothing and fails if something is missing.
import { readFileSync, writeFileSync } from 'node:fs'

const systems = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32']
const processors = {
  armv7: 'arm',
  arm: 'arm',
  arm64: 'arm64',
  ia32: 'ia32',
  loong64: 'loong64',
  mips64el: 'mips64el',
  ppc64: 'ppc64',
  ppc64le: 'ppc64',
  riscv64: 'riscv64',
  s390x: 's390x',
  x64: 'x64',
}

/** `@oxfmt/binding-linux-arm-gnueabihf` → { os, cpu, libc }; null when the name tells no platform. */
function platformOf(name) {
  if (name.endsWith('wasm32-wasi')) return { cpu: ['wasm32'] }
  const words = name.replace(/^.*\//, '').split('-')
  const at = words.findIndex((word, index) => systems.includes(word) && processors[words[index + 1]] !== undefined)
  if (at === -1) return null
  const [os, cpu, abi = ''] = words.slice(at)
  const libc = os !== 'linux' || abi === '' ? {} : { libc: [abi.startsWith('musl') ? 'musl' : 'glibc'] }
  return { os: [os], cpu: [processors[cpu]], ...libc }
}

const file = new URL('../package-lock.json', import.meta.url)
const lock = JSON.parse(readFileSync(file, 'utf8'))
const added = []
for (const [place, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const target = `node_modules/${name}`
    if (lock.packages[target] !== undefined || lock.packages[`${place}/${target}`] !== undefined) continue
    const platform = platformOf(name)
    if (platform === null || !/^\d+\.\d+\.\d+[-+.\w]*$/.test(version)) {
      process.stderr.write(`cannot complete ${name}@${version}, wanted by ${place}\n`)
      process.exit(1)
    }
    lock.packages[target] = { version, ...(entry.dev === true ? { dev: true } : {}), optional: true, ...platform }
    added.push(`${name}@${version}`)
  }
}

if (process.argv.includes('--check') && added.length > 0) {
  process.stderr.write(`package-lock.json lacks ${added.length} platform packages (run: make lock):\n${added.map((name) => `  ${name}\n`).join('')}`)
  process.exit(1)
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)))
if (added.length > 0) writeFileSync(file, JSON.stringify(lock, null, 2) + '\n')
process.stdout.write(
  added.length === 0 ? 'package-lock.json names every platform package\n' : `added ${added.length}:\n${added.map((name) => `  ${name}\n`).join('')}`,
)
