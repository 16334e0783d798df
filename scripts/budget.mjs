// The dependency budget: few, exact, explained, and none that runs a script when it is installed.
import { readdirSync, readFileSync } from 'node:fs'

const most = 16
const root = new URL('../', import.meta.url)
const read = (path) => readFileSync(new URL(path, root), 'utf8')
const problems = []

const manifest = JSON.parse(read('package.json'))
const lock = JSON.parse(read('package-lock.json')).packages
const explained = read('docs/dependencies.md')

const runtime = Object.keys(manifest.dependencies)
if (runtime.length > most) problems.push(`${runtime.length} direct runtime dependencies, at most ${most}: ${runtime.join(', ')}`)

const direct = { ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.devDependencies }
for (const [name, version] of Object.entries(direct)) {
  if (!/^(npm:@?[^@]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)) problems.push(`${name}: "${version}" is not an exact version`)
  if (!explained.includes(`| \`${name}\` |`)) problems.push(`${name} has no line in docs/dependencies.md`)
  if (lock[`node_modules/${name}`] === undefined) problems.push(`${name} is not in package-lock.json (run: make lock)`)
}
for (const [, name] of explained.matchAll(/^\| `([^`]+)` \|/gm))
  if (direct[name] === undefined) problems.push(`docs/dependencies.md explains ${name}, which is not a dependency`)

for (const [place, entry] of Object.entries(lock)) {
  if (place === '' || entry.dev === true) continue
  if (entry.hasInstallScript === true) problems.push(`${place} runs a script when it is installed`)
}
// The lock repeats what the registry said; the packages themselves are asked as well.
for (const place of Object.keys(lock)) {
  if (place === '' || lock[place].dev === true) continue
  let scripts
  try {
    scripts = JSON.parse(read(`${place}/package.json`)).scripts ?? {}
    if (readdirSync(new URL(place, root)).includes('binding.gyp')) problems.push(`${place} has a binding.gyp, which npm builds when it is installed`)
  } catch (error) {
    if (error.code === 'ENOENT') continue
    throw error
  }
  for (const name of ['preinstall', 'install', 'postinstall'])
    if (scripts[name] !== undefined) problems.push(`${place} has a script "${name}": ${scripts[name]}`)
}

for (const problem of problems) process.stderr.write(`${problem}\n`)
if (problems.length > 0) process.exit(1)
const production = Object.entries(lock).filter(([place, entry]) => place !== '' && entry.dev !== true && entry.optional !== true).length
process.stdout.write(`${runtime.length} of ${most} direct runtime dependencies, ${production} packages in all, no install scripts\n`)
