import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { testRoom } from '../../test/support/config-room.ts'
import { describeSettings } from './describe.ts'

const ada = 'age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef'
const root = `tidemark-root1${'q'.repeat(58)}`
const url = { DATABASE_URL: 'postgres://u@h/d' }

describe('what is sealed', () => {
  it('is decided by nobody where nobody says anything, and the usual host key is not chosen', async () => {
    await using room = await testRoom()
    const { encryption, repositories } = await room.load(url, {}, { isRoot: false })
    expect(encryption).toEqual({
      wanted: null,
      recipients: [],
      hostKey: { path: '/home/ada/.config/tidemark/host.key', isChosen: false },
      kitFile: null,
      identities: [],
      passphraseFile: null,
      root: null,
    })
    expect(repositories['local']?.isClear).toBe(false)
  })

  it('has its host key in /etc as root, and wherever XDG_CONFIG_HOME says', async () => {
    await using room = await testRoom()
    expect((await room.load(url, {}, { isRoot: true })).encryption.hostKey?.path).toBe('/etc/tidemark/host.key')
    expect((await room.load({ ...url, XDG_CONFIG_HOME: '/xdg' }, {}, { isRoot: true })).encryption.hostKey?.path).toBe('/xdg/tidemark/host.key')
  })

  it.each([
    ['the file', 'encryption: {}', {}],
    ['a recipient', `encryption: { recipients: [${ada}] }`, {}],
    ['a variable', '{}', { TIDEMARK_ENCRYPTION: 'true' }],
    ['an older variable', '{}', { BACKUP_ENCRYPTION: 'yes' }],
    ['a host key in a variable', '{}', { TIDEMARK_HOST_KEY: './host.key' }],
    ['an identity in a variable', '{}', { TIDEMARK_IDENTITY: './ada.txt' }],
    ['recipients in a variable', '{}', { TIDEMARK_RECIPIENTS: `${ada}, ${ada}` }],
  ])('must be, when %s says so', async (_who, text, env) => {
    await using room = await testRoom({ 'tidemark.yaml': text })
    expect((await room.load({ ...url, ...env })).encryption.wanted).toBe('sealed')
  })

  it('is not, when that was chosen: for all repositories or for one', async () => {
    await using all = await testRoom({ 'tidemark.yaml': 'encryption: none' })
    expect((await all.load(url)).encryption.wanted).toBe('clear')
    expect((await all.load(url)).repositories['local']?.isClear).toBe(true)
    await using variable = await testRoom()
    expect((await variable.load({ ...url, BACKUP_ENCRYPTION: 'false', TIDEMARK_ENCRYPTION: 'none' })).repositories['local']?.isClear).toBe(true)
    await using one = await testRoom({ 'tidemark.yaml': 'encryption: {}\nrepositories: { a: { path: ./a }, b: { path: ./b, encryption: none } }' })
    const { repositories, encryption } = await one.load(url)
    expect([encryption.wanted, repositories['a']?.isClear, repositories['b']?.isClear]).toEqual(['sealed', false, true])
  })

  it('reads paths from where they are written: the file, or the working directory', async () => {
    await using room = await testRoom({
      'etc/tidemark.yaml': `encryption: { hostKey: ./own.key, identities: [./ada.txt, "file:./bob.txt", "env:CAROL"], root: ${root} }`,
    })
    const fromFile = (await room.load({ ...url, CAROL: 'AGE-SECRET-KEY-1X' })).encryption
    expect(fromFile.hostKey).toEqual({ path: join(room.directory, 'etc/own.key'), isChosen: true })
    expect(fromFile.identities.slice(0, 2)).toEqual(['ada', 'bob'].map((name) => ({ kind: 'file', path: join(room.directory, `etc/${name}.txt`) })))
    expect(fromFile.identities[2]).toMatchObject({ kind: 'text', origin: 'CAROL (environment)' })
    expect(fromFile.root).toBe(root)
    const flags = { kit: 'kit.txt', identities: ['x.txt'], passphraseFile: 'p', hostKey: 'h', root }
    expect((await room.load({ ...url, CAROL: 'x' }, flags)).encryption).toMatchObject({
      kitFile: join(room.directory, 'kit.txt'),
      identities: [{ kind: 'file', path: join(room.directory, 'x.txt') }],
      passphraseFile: join(room.directory, 'p'),
      hostKey: { path: join(room.directory, 'h'), isChosen: true },
    })
  })

  it('is shown without any secret', async () => {
    await using room = await testRoom({ 'tidemark.yaml': 'encryption: { identities: ["env:CAROL"] }' })
    const secret = `AGE-SECRET-KEY-1${'Q'.repeat(58)}`
    const settings = await room.load({ ...url, CAROL: secret })
    const shown = JSON.stringify([describeSettings(settings), settings])
    expect(shown).toContain('encryption.identities')
    expect(shown).not.toContain(secret.slice(0, 30))
  })
})

describe('asking for what there is not is refused, never stored otherwise', () => {
  it.each([
    { BACKUP_ENCRYPTION: 'gpg' },
    { BACKUP_ENCRYPTION_KEY: 'k' },
    { BACKUP_ENCRYPTION_KEY: '' },
    { BACKUP_PASSPHRASE: 'p' },
    { BACKUP_GPG_RECIPIENT: 'a@b' },
    { TIDEMARK_ENCRYPTION: 'aes' },
    { TIDEMARK_PASSPHRASE: '' },
  ])('%j', async (env) => {
    await using room = await testRoom()
    const failure = await room.failure({ ...url, ...env })
    expect([failure.code, failure.exitCode]).toEqual(['encryption-unavailable', 2])
    await using inFile = await testRoom({
      '.env': Object.entries(env)
        .map(([name, value]) => `${name}=${value}\n`)
        .join(''),
    })
    expect((await inFile.failure()).code).toBe('encryption-unavailable')
  })

  it.each([
    'encryption: { recipients: [age1x] }',
    'encryption:',
    'encryption: false',
    'encryption: true',
    'encryption: { passphrase: x }',
    'encryption: { identities: [AGE-SECRET-KEY-1QQQQQQQQQQ] }',
    'encryption: { root: tidemark-root1x }',
    'encrypted: {}',
    'clusters: { a: { url: "postgres://u@h/d", encryption: true } }',
    'repositories: { r: { path: x, encryption: { recipients: [] } } }',
  ])('in the file: %s', async (text) => {
    await using room = await testRoom({ 'tidemark.yaml': text })
    const failure = await room.failure(url)
    expect(failure.code).toBe('config-invalid')
    expect(failure.message).not.toContain('QQQQ')
  })

  it.each([{ TIDEMARK_RECIPIENTS: 'age1' }, { TIDEMARK_RECIPIENTS: `${ada},bob` }, { TIDEMARK_RECIPIENTS: 'AGE-SECRET-KEY-1QQQQQQQQQQ' }])(
    'in a variable: %j',
    async (env) => {
      await using room = await testRoom()
      const failure = await room.failure({ ...url, ...env })
      expect(failure.code).toBe('config-invalid')
      expect(`${failure.message}${failure.hints.join()}`).not.toContain('QQQQ')
    },
  )

  it('two answers to the question are none', async () => {
    await using room = await testRoom()
    expect((await room.failure({ ...url, BACKUP_ENCRYPTION: 'true', TIDEMARK_ENCRYPTION: 'none' })).code).toBe('config-contradiction')
    await using file = await testRoom({ 'tidemark.yaml': 'encryption: none' })
    expect((await file.failure({ ...url, TIDEMARK_ENCRYPTION: 'true' })).code).toBe('config-contradiction')
  })
})
