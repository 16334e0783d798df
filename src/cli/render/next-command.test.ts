import { expect, it } from 'vitest'
import { nextCommand, withoutMask } from './next-command.ts'

it('a printed command leads back to the same place, and never shows the password that was typed', () => {
  const flags = { config: 'my prod.yaml', envFile: 'b.env', repo: ['s3', './x'], server: 'postgres://ada:s3cret@db:6000/shop?sslmode=require' }
  expect(nextCommand(['undo', 'r-1'], flags)).toBe(
    "tidemark undo r-1 --config 'my prod.yaml' --env-file b.env --repo s3 --repo ./x --server 'postgresql://ada@db:6000/shop?sslmode=require'",
  )
  expect(nextCommand(['undo', 'r-1'], { server: 'env:OTHER' })).toBe('tidemark undo r-1 --server env:OTHER')
  expect(nextCommand(['backup'], {})).toBe('tidemark backup')
})

it('psql is not given *** as a password', () => {
  expect(withoutMask('postgresql://ada:***@db:5432/shop')).toBe('postgresql://ada@db:5432/shop')
  expect(withoutMask('postgresql://ada@db:5432/shop')).toBe('postgresql://ada@db:5432/shop')
})
