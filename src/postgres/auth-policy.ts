import type { EventEmitter } from 'node:events'
import { Failure } from '../kernel/failure.ts'
import type { ConnectionTarget } from './target.ts'

/** libpq's `require_auth` names for what a server may ask for. */
type Method = 'password' | 'md5' | 'scram-sha-256' | 'none'

/**
 * Holds a server to `require_auth` and `channel_binding=require`, which node-postgres does not know: `refuse` is called before
 * it answers, so that a false server learns nothing. Call it before connecting.
 */
export function enforceAuthPolicy(protocol: EventEmitter, target: ConnectionTarget, encrypted: boolean, refuse: (failure: Failure) => void): void {
  const allowed = allowedMethods(target.parameters['require_auth'])
  const binding = target.parameters['channel_binding'] === 'require'
  let asked = false
  const judge = (method: Method, withBinding: boolean) => {
    asked = true
    if (allowed !== null && !allowed(method))
      refuse(denied(`the server wants authentication by "${method}", which require_auth=${target.parameters['require_auth']} forbids`))
    else if (binding && !withBinding) refuse(denied('the server offers no channel binding, which channel_binding=require demands'))
  }
  protocol.on('authenticationCleartextPassword', () => judge('password', false))
  protocol.on('authenticationMD5Password', () => judge('md5', false))
  protocol.on('authenticationSASL', (message: { mechanisms: readonly string[] }) =>
    judge('scram-sha-256', encrypted && message.mechanisms.includes('SCRAM-SHA-256-PLUS')),
  )
  // Said in the end of every exchange, and at once by a server that trusts us.
  protocol.on('authenticationOk', () => {
    if (!asked) judge('none', false)
  })
}

/** `md5,scram-sha-256` allows these; `!password` allows all others. Null when nothing was required. */
function allowedMethods(list: string | undefined): ((method: Method) => boolean) | null {
  if (list === undefined || list === '') return null
  const names = list.split(',').map((name) => name.trim())
  const negated = names.filter((name) => name.startsWith('!')).map((name) => name.slice(1))
  if (negated.length > 0 && negated.length < names.length) {
    throw new Failure('connection-invalid', `require_auth=${list} mixes methods that are allowed with methods that are forbidden`, {
      hints: ['use one or the other'],
    })
  }
  return (method) => (negated.length > 0 ? !negated.includes(method) : names.includes(method))
}

function denied(why: string): Failure {
  return new Failure('connection-failed', `cannot log in: ${why}`, { hints: ['is this the right server?', 'or change the parameter in the connection URL'] })
}
