import { describe, expect, it } from 'vitest'
import { testRoom } from '../../test/support/config-room.ts'

describe('DATABASE_URL that is set and empty', () => {
  it('counts as unset, and that libpq’s variables then decide is said', async () => {
    await using room = await testRoom()
    const settings = await room.load({ DATABASE_URL: '', PGHOST: 'db.example.com', PGUSER: 'postgres' })
    expect(settings.warnings).toEqual(['DATABASE_URL is set and empty, so PGHOST (environment) decides: database "postgres" on db.example.com:5432'])
    expect((await room.load({ PGHOST: 'db.example.com', PGUSER: 'postgres' })).warnings).toEqual([])
    await using withDotenv = await testRoom({ '.env': 'DATABASE_URL=\n' })
    expect((await withDotenv.load({ PGDATABASE: 'shop' })).warnings.join()).toContain(
      'PGDATABASE (environment) decides: database "shop" on the local socket:5432',
    )
  })

  it('is no warning where the variables of the project name the database, or a file does', async () => {
    await using room = await testRoom()
    const named = await room.load({ DATABASE_URL: '', DB_HOST: 'db', DB_NAME: 'shop' })
    expect(named.warnings).toEqual([])
    expect(named.notes.join()).toContain('DATABASE_URL is set and empty')
    await using withFile = await testRoom({ 'tidemark.yaml': 'clusters:\n  shop: { url: "postgres://u@h/shop" }\n' })
    const filed = await withFile.load({ DATABASE_URL: '', PGHOST: 'x' })
    expect([filed.warnings, filed.notes]).toEqual([[], []])
  })
})

describe('a variable that one of several clusters refers to is not set', () => {
  const file = 'clusters:\n  shop: { url: "postgres://u@h/shop" }\n  other: { url: "env:OTHER_DB" }\n'

  it('makes that cluster unusable, with its line, and not the other', async () => {
    await using room = await testRoom({ 'tidemark.yaml': file })
    const settings = await room.load()
    expect(Object.keys(settings.clusters)).toEqual(['shop'])
    expect(settings.unusable['other']).toMatchObject({ message: expect.stringMatching(/tidemark\.yaml:3.*OTHER_DB is not set/) as string })
    expect(Object.keys((await room.load({ OTHER_DB: 'postgres://u@h/other' })).unusable)).toEqual([])
  })

  it('of the only cluster it is still an error', async () => {
    await using room = await testRoom({ 'tidemark.yaml': 'clusters:\n  other: { url: "env:OTHER_DB" }\n' })
    expect((await room.failure()).code).toBe('config-invalid')
  })

  it('a mistake of another kind is still one of the whole file', async () => {
    await using room = await testRoom({ 'tidemark.yaml': file.replace('env:OTHER_DB', 'postgres://u@h/other?sslmod=require') })
    expect((await room.failure()).code).toBe('connection-invalid')
  })
})
