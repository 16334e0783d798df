import { startServer } from './postgres.ts'
import { readFileSync } from 'node:fs'
import { scanPlain } from '../../src/dump/plain-scan.ts'
import { createFingerprintCollector } from '../../src/dump/fingerprint-collector.ts'
import { derivedObjects } from '../../src/dump/derived-objects.ts'
await using server = await startServer()
await server.sql('postgres', 'CREATE DATABASE w')
await server.sql('w', readFileSync(new URL('workload.sql', import.meta.url), 'utf8'))
for (const [program, args] of [['pg_dump',[]],['pg_dump',['--inserts']],['/tmp/dumpwork/pg17/pg_dump',[]],['/tmp/dumpwork/pg18/pg_dump',[]],['pg_dumpall',[]]] as const) {
  try {
  const c = createFingerprintCollector()
  const scan = await scanPlain(server.bytes(program, program==='pg_dumpall'?['-l','w']:[ ...args, '-d', 'w']), c.sink)
  const fp = c.finish({ encoding: scan.encoding, settings: null, derived: scan.derived })
  console.log(program, args, {...scan, derived: scan.derived.length})
  console.log(fp.tables.length, fp.largeObjects, fp.sequences.length, fp.notCompared.length, fp.derived.length)
  const {createHash}=await import('node:crypto'); console.log(createHash('md5').update(JSON.stringify(fp.tables.map(t=>[t.name,t.rows,t.digest]).sort())).digest('hex'))
  } catch (e) { console.log(program, args, e) }
}
