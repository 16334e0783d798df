import { describe, expect, it } from 'vitest'
import { checkEndpoint, isForbiddenAddress } from './endpoint.ts'

describe('endpoints', () => {
  it.each([
    '169.254.169.254',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '100.100.100.200',
    '::',
    'fe80::1',
    'fe80::1%eth0',
    'fd00:ec2::254',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    '64:ff9b::a9fe:a9fe',
    '64:ff9b::169.254.169.254',
    '2002:a9fe:a9fe::1',
    '::169.254.169.254',
    'no address',
  ])('forbids %s, where credentials are handed out or nothing can be', (address) => {
    expect(isForbiddenAddress(address)).toBe(true)
  })

  it.each(['127.0.0.1', '::1', '10.0.0.5', '192.168.1.2', '52.216.1.1', '2600:1f18::1', '::ffff:10.0.0.5', 'fd12::1'])('allows %s', (address) => {
    expect(isForbiddenAddress(address)).toBe(false)
  })

  it.each([
    'http://169.254.169.254/',
    'http://2852039166',
    'http://0xa9fea9fe',
    'http://[::ffff:169.254.169.254]:9000',
    'ftp://host',
    'host:9000',
    'https://host/?x=1',
    'nonsense',
  ])('refuses %s', (endpoint) => {
    expect(() => checkEndpoint(endpoint)).toThrow(expect.objectContaining({ code: 'config-invalid' }))
  })

  it('refuses credentials in an endpoint without repeating them', () => {
    let message = ''
    try {
      checkEndpoint('https://key:canary@host')
    } catch (error) {
      message = String(error)
    }
    expect(message).toContain('user name or password')
    expect(message).not.toContain('canary')
  })

  it.each(['https://s3.eu-central-1.amazonaws.com', 'http://127.0.0.1:9000', 'http://minio:9000', 'https://[2600:1f18::1]:443'])('accepts %s', (endpoint) => {
    expect(() => checkEndpoint(endpoint)).not.toThrow()
  })
})
