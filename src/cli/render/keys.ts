import type { KeysOutcome } from '../../api/keys/change-members.ts'
import type { DescribedMember } from '../../api/keys/describe-members.ts'
import type { InitKeysOutcome } from '../../api/keys/init-keys.ts'
import type { ListedKeyring } from '../../api/keys/list-keys.ts'
import type { PrintedKit } from '../../api/keys/print-kit.ts'
import type { Settings } from '../../config/settings.ts'
import { printable } from './format.ts'
import type { Output } from './output.ts'

/** What must be known before anything is sealed to it. */
export function kitQuestion(file: string): string {
  return [
    `The recovery kit is in ${printable(file)}.`,
    'It opens every backup, also when this machine is gone. Without it, a lost machine means lost backups; nobody can make another.',
    'Print it, or copy it to a medium that leaves this room; then remove it from this machine.',
    'Type the last 6 characters of the line AGE-SECRET-KEY-1… in it, to confirm that you stored it',
  ].join('\n')
}

export function renderInit(output: Output, { plan, root, repositories, dryRun }: InitKeysOutcome, { configFile, encryption }: Settings): void {
  if (dryRun) {
    for (const line of plan.lines) output.line(printable(line))
    return output.line('Nothing was changed.')
  }
  const done = output.paint('green', '✓')
  output.line(`${done} recovery kit   ${printable(plan.kitFile)}   Keep it OFF this machine.`)
  output.line(
    `${done} host key       ${printable(plan.hostKeyFile)}   (${printable(plan.host)}, ${plan.reads === 'metadata' ? 'write-only' : 'reads everything'})`,
  )
  for (const { name, location, created, isNew } of repositories) {
    const what = isNew ? (created ? 'created and sealed' : 'sealed') : 'was sealed already'
    output.line(`${done} ${printable(name)} ${what}   ${printable(location)}`)
  }
  if (repositories.length > 0) renderMembers(output, repositories[0]?.members ?? [])
  output.line(`root key ${root ?? ''}`)
  if (encryption.wanted === 'sealed') return
  const where = configFile === null ? 'Set TIDEMARK_ENCRYPTION=true' : `Write into ${printable(configFile)}:  encryption: {}`
  output.line(`${where}   so that nothing is ever stored in clear, whatever becomes of the key file.`)
}

export function renderChange(output: Output, { repositories, request, hostKeyFile, lines, warnings, dryRun }: KeysOutcome): void {
  for (const line of lines) output.line(printable(line))
  if (dryRun) {
    for (const warning of warnings) output.line(`${output.paint('yellow', '!')} ${printable(warning)}`)
    return output.line('Nothing was changed.')
  }
  if (request !== null) {
    // Alone on stdout, so that it can be sent to a file.
    output.line(request)
    output.remark(`${output.paint('green', '✓')} host key ${printable(hostKeyFile ?? '')}`)
    output.remark('Not a member yet. Carry the line above to whoever has the recovery kit:')
    output.remark('  tidemark key add --request FILE --kit FILE')
    return
  }
  if (hostKeyFile !== null) output.line(`${output.paint('green', '✓')} host key ${printable(hostKeyFile)}`)
  for (const { name, changed, ring, metadataEpoch, resealed } of repositories) {
    const keys = resealed === 0 ? '' : `; ${resealed} run keys sealed anew`
    output.line(`${output.paint('green', '✓')} ${printable(name)}: ${changed ? '' : 'nothing to change; '}ring ${ring}, metadata key ${metadataEpoch}${keys}`)
  }
  renderMembers(output, repositories[0]?.members ?? [])
  for (const warning of warnings) output.line(`${output.paint('yellow', '!')} ${printable(warning)}`)
}

export function renderKeyrings(output: Output, repositories: readonly ListedKeyring[]): void {
  for (const { name, location, state, root, ring, metadataEpoch, thisHost, readsData, members } of repositories) {
    output.line(`${output.paint('bold', printable(name))}  ${printable(location)}`)
    if (state !== 'sealed') {
      output.line(
        state === 'missing'
          ? '  there is no repository yet'
          : `  not sealed${state === 'clear' ? ': its backups are in clear' : '; tidemark key init seals it'}`,
      )
      continue
    }
    output.line(`  ${root ?? ''}`)
    output.line(`  ring ${ring ?? 0}, metadata key ${metadataEpoch ?? 0}`)
    renderMembers(output, members)
    const who = thisHost === null ? 'the keys at hand are of no host' : `this host is ${printable(thisHost)}`
    output.line(`  ${who}; ${readsData === true ? 'they read everything' : 'they read what there is, and no rows'}`)
  }
}

function renderMembers(output: Output, members: readonly DescribedMember[]): void {
  const width = Math.max(0, ...members.map(({ name }) => printable(name).length))
  for (const { name, kind, reads, recipient, removedAfterRing } of members) {
    const what = removedAfterRing === null ? (reads === 'metadata' ? 'writes only' : 'reads everything') : `removed after ring ${removedAfterRing}`
    output.line(`  ${printable(name).padEnd(width)}  ${kind.padEnd(10)}  ${what}  ${output.paint('dim', recipient)}`)
  }
}

export function renderKit(output: Output, { file, text, repositories, dryRun }: PrintedKit): void {
  if (text !== null) return output.line(text.reveal().trimEnd())
  const names = repositories.map(({ location }) => printable(location)).join(', ')
  output.line(dryRun ? `would name ${names}` : `${output.paint('green', '✓')} wrote ${printable(file ?? '')}   Keep it OFF this machine. It opens ${names}`)
}
