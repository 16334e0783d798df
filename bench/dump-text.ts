/**
 * Text as `pg_dump -Fp` writes it, the same on every machine for the same size: a third each of narrow pgbench rows, of
 * events (numbers, times, words from short lists) and of documents (prose from a Zipf-weighted vocabulary, JSON, UUIDs).
 */
export function* dumpText(sizeBytes: number): Generator<Buffer> {
  const random = xorshift(20_260_601)
  const words = vocabulary(random, 20_000)
  const pick = zipf(words, random)
  const tables = [
    { head: 'COPY public.pgbench_accounts (aid, bid, abalance, filler) FROM stdin;\n', row: (n: number) => accountRow(n, random) },
    { head: 'COPY public.events (id, at, kind, user_id, path, amount, ok) FROM stdin;\n', row: (n: number) => eventRow(n, random) },
    { head: 'COPY public.documents (id, uid, created, title, body, meta) FROM stdin;\n', row: (n: number) => documentRow(n, random, pick) },
  ]
  yield Buffer.from('--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n')
  let left = sizeBytes - 60
  for (const [index, table] of tables.entries()) {
    let share = Math.floor(left / (tables.length - index))
    left -= share
    let text = table.head
    for (let row = 1; share > 0; row++) {
      text += table.row(row)
      if (text.length < 1 << 16) continue
      const chunk = Buffer.from(text).subarray(0, share)
      share -= chunk.length
      text = ''
      yield chunk
    }
  }
}

/** Whole rows for `COPY documents (id, uid, created, title, body, meta) FROM STDIN`, about `sizeBytes` of them. */
export function* documentRows(sizeBytes: number): Generator<Buffer> {
  const random = xorshift(20_260_601)
  const pick = zipf(vocabulary(random, 20_000), random)
  let text = ''
  let row = 1
  for (let left = sizeBytes; left > 0; row++) {
    text += documentRow(row, random, pick)
    if (text.length < 1 << 16 && text.length < left) continue
    const chunk = Buffer.from(text)
    left -= chunk.length
    text = ''
    yield chunk
  }
}

type Random = () => number

/** Uniform in [0, 1): xorshift32, good enough for bench data and fast. */
function xorshift(seed: number): Random {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 4_294_967_296
  }
}

function vocabulary(random: Random, size: number): string[] {
  const heads = 'b c d f g h k l m n p r s t v w st tr pl ch sh'.split(' ')
  const tails = 'a e i o u ai ea ou er an on in al'.split(' ')
  const words = new Set<string>()
  while (words.size < size) {
    let word = ''
    for (let left = 1 + Math.floor(random() * 4); left > 0; left--)
      word += `${heads[Math.floor(random() * heads.length)]}${tails[Math.floor(random() * tails.length)]}`
    words.add(word)
  }
  return [...words]
}

function zipf(words: readonly string[], random: Random): () => string {
  const limits = new Float64Array(words.length)
  let sum = 0
  for (let index = 0; index < words.length; index++) limits[index] = sum += 1 / (index + 2.7) ** 1.03
  // A table of 65,536 draws: a binary search per word would make the generator the slowest part of the bench.
  const draws = Array.from({ length: 65_536 }, (_, draw) => {
    const wanted = ((draw + 0.5) / 65_536) * sum
    return words[limits.findIndex((limit) => limit >= wanted)] ?? ''
  })
  return () => draws[Math.floor(random() * 65_536)] ?? ''
}

const filler = ' '.repeat(84)

function accountRow(n: number, random: Random): string {
  return `${n}\t${1 + Math.floor(n / 100_000)}\t${Math.floor(random() * 10_000) - 5000}\t${filler}\n`
}

const kinds = ['view', 'click', 'purchase', 'login', 'logout', 'error']

function eventRow(n: number, random: Random): string {
  const path = `/shop/item/${Math.floor(random() * 50_000)}?ref=${Math.floor(random() * 900)}`
  return `${n}\t${time(random)}\t${kinds[Math.floor(random() * kinds.length)]}\t${Math.floor(random() * 90_000)}\t${path}\t${(random() * 500).toFixed(2)}\t${random() < 0.9 ? 't' : 'f'}\n`
}

function documentRow(n: number, random: Random, pick: () => string): string {
  const body = Array.from({ length: 40 + Math.floor(random() * 140) }, (_, at) => (at % 12 === 0 ? capital(pick()) : pick())).join(' ')
  const meta = `{"user": ${Math.floor(random() * 90_000)}, "sess": "${hex(random, 4)}", "ip": "10.${Math.floor(random() * 256)}.${Math.floor(random() * 256)}.7", "tags": ["${pick()}", "${pick()}"], "score": ${random().toFixed(6)}}`
  return `${n}\t${hex(random, 1)}-4e2a-4c1b-9${hex(random, 1).slice(0, 3)}-${hex(random, 2).slice(0, 12)}\t${time(random)}\t${body.slice(0, 30)}\t${body}\t${meta}\n`
}

function time(random: Random): string {
  const two = (below: number) => String(Math.floor(random() * below)).padStart(2, '0')
  return `2026-0${1 + Math.floor(random() * 9)}-1${Math.floor(random() * 9)} ${two(24)}:${two(60)}:${two(60)}.${String(Math.floor(random() * 1e6)).padStart(6, '0')}+00`
}

function hex(random: Random, count: number): string {
  let text = ''
  for (let left = count; left > 0; left--)
    text += Math.floor(random() * 4_294_967_296)
      .toString(16)
      .padStart(8, '0')
  return text
}

function capital(word: string): string {
  return `${word.slice(0, 1).toUpperCase()}${word.slice(1)}.`
}
