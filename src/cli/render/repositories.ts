import type { InitializedRepository } from '../../api/init-repositories.ts'
import type { CaseResult, StorageTest } from '../../api/test-repositories.ts'
import { formatBytes, formatDuration, printable } from './format.ts'
import type { Output } from './output.ts'

export function renderRepositories(output: Output, repositories: readonly InitializedRepository[]): void {
  for (const { name, location, created, layout } of repositories) {
    output.line(`${output.paint('green', '✓')} ${printable(name)}  ${printable(location)}  ${created ? `created, layout ${layout}` : 'exists already'}`)
  }
}

export function renderCase(output: Output, { name, ok, message, durationSeconds }: CaseResult): void {
  output.line(
    `  ${ok ? output.paint('green', '✓') : output.paint('red', '✗')} ${printable(name)}${durationSeconds >= 1 ? `  (${formatDuration(durationSeconds)})` : ''}`,
  )
  if (message !== null) output.line(`      ${printable(message)}`)
}

export function renderStorageTest(output: Output, test: StorageTest): void {
  const broken = test.cases.filter((each) => !each.ok).length
  const create = { atomic: 'conditional create is atomic', racy: 'conditional create is NOT atomic', unsupported: 'conditional create is NOT supported' }
  const facts = [
    test.conditionalCreate === null ? 'conditional create could not be tried' : create[test.conditionalCreate],
    ...(test.writeBytesPerSecond === null ? [] : [`writes about ${formatBytes(test.writeBytesPerSecond)}/s`]),
    ...(test.readBytesPerSecond === null ? [] : [`reads about ${formatBytes(test.readBytesPerSecond)}/s`]),
    ...(test.freeBytes === null ? [] : [`${formatBytes(test.freeBytes)} free`]),
  ]
  output.line(`  ${facts.join(', ')}`)
  output.line(
    test.ok
      ? `${output.paint('green', '✓')} ${printable(test.name)} keeps all ${test.cases.length} promises`
      : `${output.paint('red', '✗')} ${printable(test.name)} breaks ${broken} of ${test.cases.length} promises`,
  )
}
