import { lookup } from 'node:dns'
import type { LookupAddress, LookupOptions } from 'node:dns'
import { BlockList, isIP, isIPv6 } from 'node:net'
import { Failure } from '../kernel/failure.ts'

/**
 * Addresses that no storage has: cloud metadata services (which hand out credentials to whoever asks), link-local,
 * "this network", multicast and broadcast. Private networks are allowed: most own stores are there.
 */
const forbidden = new BlockList()
forbidden.addSubnet('169.254.0.0', 16, 'ipv4')
forbidden.addSubnet('0.0.0.0', 8, 'ipv4')
forbidden.addSubnet('224.0.0.0', 3, 'ipv4')
forbidden.addAddress('100.100.100.200', 'ipv4')
forbidden.addAddress('192.0.0.192', 'ipv4')
forbidden.addAddress('::', 'ipv6')
forbidden.addSubnet('fe80::', 10, 'ipv6')
forbidden.addSubnet('ff00::', 8, 'ipv6')
forbidden.addAddress('fd00:ec2::254', 'ipv6')

/** Whether the address, also one written as IPv4-in-IPv6 (mapped, NAT64, 6to4), must never be connected to. */
export function isForbiddenAddress(address: string): boolean {
  if (isIP(address) === 0) return true
  if (!isIPv6(address)) return forbidden.check(address, 'ipv4')
  if (forbidden.check(address, 'ipv6')) return true
  const embedded = embeddedIpv4(address)
  return embedded !== undefined && forbidden.check(embedded, 'ipv4')
}

function embeddedIpv4(address: string): string | undefined {
  // The URL parser writes every IPv6 address in one form, dotted tails as hexadecimal.
  const bare = address.replace(/%.*$/, '')
  if (!URL.canParse(`http://[${bare}]/`)) return undefined
  const words = expand(new URL(`http://[${bare}]/`).hostname.slice(1, -1))
  if (words.join(':') === '0:0:0:0:0:0:0:1') return undefined
  const head = words.slice(0, 6).join(':')
  const pair =
    head === '0:0:0:0:0:ffff' || head === '0:0:0:0:0:0' || head === '64:ff9b:0:0:0:0' ? words.slice(6) : words[0] === '2002' ? words.slice(1, 3) : undefined
  if (pair === undefined) return undefined
  return pair.flatMap((word) => [Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 255]).join('.')
}

function expand(address: string): readonly string[] {
  const [left = '', right] = address.split('::')
  const before = left === '' ? [] : left.split(':')
  const after = right === undefined || right === '' ? [] : right.split(':')
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after]
}

/** Refuses (`config-invalid`) endpoints that are no plain http(s) URL or name a forbidden address. Never repeats user or password. */
export function checkEndpoint(endpoint: string): URL {
  const refuse = (why: string) =>
    new Failure('config-invalid', `cannot use the S3 endpoint: ${why}`, { hints: ['the form is https://host or https://host:port'] })
  if (!URL.canParse(endpoint)) throw refuse('it is not a URL')
  const url = new URL(endpoint)
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw refuse(`${url.protocol} is neither http: nor https:`)
  if (url.username !== '' || url.password !== '') throw refuse('it contains a user name or password, which belong in accessKeyId and secretAccessKey')
  if (url.search !== '' || url.hash !== '') throw refuse('it has a query or fragment')
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (isIP(host) !== 0 && isForbiddenAddress(host)) throw refuse(`${host} is an address where no storage is`)
  return url
}

type LookupAnswer = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void

/** The name look-up of connections: what a name resolves to is checked when it is connected to, so a later change of the DNS gains nothing. */
export function guardedLookup(hostname: string, options: LookupOptions, answer: LookupAnswer): void {
  lookup(hostname, options, (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => {
    if (error !== null) return answer(error, address, family)
    const addresses = typeof address === 'string' ? [address] : address.map((entry) => entry.address)
    const bad = addresses.find(isForbiddenAddress)
    if (bad === undefined) return answer(null, address, family)
    answer(Object.assign(new Error(`${hostname} resolves to ${bad}, where no storage is`), { code: 'EFORBIDDENADDRESS' }), address, family)
  })
}
