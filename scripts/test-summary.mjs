// Adds up vitest's JSON reports and prints, as the last line, `N passed, N failed, N skipped`.
//   node scripts/test-summary.mjs REPORT…
// TIDEMARK_OTHER_FAILURES counts what failed besides tests; TIDEMARK_TESTS_FAILED=yes says that a run of them did. Fails if anything failed, if nothing ran, or if an expected service (TIDEMARK_EXPECT_SERVICES) had a test skipped or none passed.
import { readFileSync } from 'node:fs'

const tests = []
let failedFiles = 0
let unsound = false
const complain = (text) => {
  unsound = true
  process.stderr.write(`${text}\n`)
}

for (const file of process.argv.slice(2)) {
  let report
  try {
    report = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    complain(`no test report at ${file}: ${error.message}`)
    continue
  }
  for (const { name, status, message, assertionResults } of report.testResults) {
    tests.push(...assertionResults.map((result) => ({ ...result, file: name })))
    // A file that cannot be loaded, or whose hooks fail, has no failed test of its own.
    if (status === 'failed' && !assertionResults.some((result) => result.status === 'failed')) {
      failedFiles += 1
      complain(`${name}: ${message}`)
    }
  }
  if (report.success === false && failedFiles === 0 && !tests.some(({ status }) => status === 'failed'))
    complain(`${file}: the run failed outside of its tests`)
}

const others = Number(process.env.TIDEMARK_OTHER_FAILURES ?? 0)
const count = (...states) => tests.filter(({ status }) => states.includes(status)).length
const passed = count('passed')
const failed = count('failed') + failedFiles + others
const skipped = tests.length - passed - count('failed')
if (process.env.TIDEMARK_TESTS_FAILED === 'yes' && failed === others) complain('a test run failed, and its report does not say why')
if (tests.length === 0) complain('no test ran')

for (const service of (process.env.TIDEMARK_EXPECT_SERVICES ?? '').split(',').filter(Boolean)) {
  const needing = tests.filter(({ fullName }) => fullName.includes(`[needs ${service}]`))
  const left = needing.filter(({ status }) => status !== 'passed' && status !== 'failed')
  if (left.length > 0)
    complain(`${service} is expected here, and ${left.length} tests that need it were skipped: ${left.map(({ fullName }) => fullName).join('; ')}`)
  if (!needing.some(({ status }) => status === 'passed')) complain(`${service} is expected here, and no test that needs it passed`)
}

process.stdout.write(`${passed} passed, ${failed === 0 && unsound ? 1 : failed} failed, ${skipped} skipped\n`)
process.exitCode = failed > 0 || unsound ? 1 : 0
