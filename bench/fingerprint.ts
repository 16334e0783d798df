/**
 * How fast a dump is scanned and fingerprinted on one core, without I/O. `node bench/fingerprint.ts [MB]`
 * The input is what pg_dump up to 15 writes: an archive with one chunk per row; and the same rows as plain SQL.
 */
import { createArchiveScanner } from '../src/dump/archive-scan.ts'
import { createFingerprintCollector } from '../src/dump/fingerprint-collector.ts'
import { createPlainScanner } from '../src/dump/plain-scan.ts'
import { createRowMultiset } from '../src/dump/row-multiset.ts'
import { buildArchive } from '../test/dump/archive-builder.ts'

const megabytes = Number(process.argv[2] ?? 1024)
const chunkBytes = 64 * 1024

interface Scanner {
  write(chunk: Uint8Array): void
}

/** Writes `head`, then `body` as often as needed, then `tail`, in pipe-sized chunks. */
function feed(scanner: Scanner, { head, body, tail }: { head: Uint8Array; body: Uint8Array; tail: Uint8Array }): number {
  let bytes = 0
  const write = (part: Uint8Array) => {
    for (let from = 0; from < part.length; from += chunkBytes) scanner.write(part.subarray(from, from + chunkBytes))
    bytes += part.length
  }
  write(head)
  while (bytes < megabytes * 1e6) write(body)
  write(tail)
  return bytes
}

async function measure(name: string, run: () => Promise<number> | number): Promise<void> {
  let best = 0
  for (let round = 0; round < 3; round++) {
    const begun = performance.now()
    const bytes = await run()
    best = Math.max(best, bytes / 1e3 / (performance.now() - begun))
  }
  process.stdout.write(`${name.padEnd(58)} ${best.toFixed(0).padStart(6)} MB/s\n`)
}

for (const rowBytes of [20, 100, 1000, 50_000]) {
  const row = `1234567\t${'x'.repeat(rowBytes - 9)}\n`
  const rows = Array.from({ length: Math.ceil(4e6 / rowBytes) }, () => row)
  const whole = buildArchive({ tables: [{ name: 't', rows }] })
  const bodyBytes = rows.length * (rowBytes + 5)
  const headBytes = whole.length - bodyBytes - 15
  const archive = { head: whole.subarray(0, headBytes), body: whole.subarray(headBytes, headBytes + bodyBytes), tail: whole.subarray(headBytes + bodyBytes) }
  await measure(`custom archive, one chunk per row of ${rowBytes} bytes`, async () => {
    const scanner = createArchiveScanner(createFingerprintCollector().sink)
    const bytes = feed(scanner, archive)
    await scanner.end()
    return bytes
  })
  const body = Buffer.from(rows.join(''))
  const plain = { head: Buffer.from('COPY public.t (a, b) FROM stdin;\n'), body, tail: Buffer.from('\\.\n\n-- PostgreSQL database dump complete\n') }
  await measure(`plain SQL, rows of ${rowBytes} bytes`, async () => {
    const scanner = createPlainScanner(createFingerprintCollector().sink)
    const bytes = feed(scanner, plain)
    await scanner.end()
    return bytes
  })
  await measure(`rows without order (only where digests differ), ${rowBytes} bytes`, () => {
    const multiset = createRowMultiset()
    for (let round = 0; round < 20; round++) for (let from = 0; from < body.length; from += chunkBytes) multiset.bytes(body.subarray(from, from + chunkBytes))
    multiset.end()
    return body.length * 20
  })
}
