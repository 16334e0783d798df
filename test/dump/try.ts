import { startServer } from './postgres.ts'
import { readFileSync } from 'node:fs'
import { scanArchive } from '../../src/dump/archive-scan.ts'
import { createFingerprintCollector } from '../../src/dump/fingerprint-collector.ts'
import { derivedOfToc } from '../../src/dump/derived-objects.ts'
await using server = await startServer()
await server.sql('postgres', 'CREATE DATABASE w')
await server.sql('w', readFileSync(new URL('workload.sql', import.meta.url), 'utf8'))
for (const [program, args] of [['pg_dump',['-Z0']],['pg_dump',['-Z6']],['pg_dump',['-Z0','--inserts']],['/tmp/dumpwork/pg17/pg_dump',['-Z0']],['/tmp/dumpwork/pg17/pg_dump',['--compress=zstd:3']],['/tmp/dumpwork/pg17/pg_dump',['--compress=gzip']],['/tmp/dumpwork/pg18/pg_dump',['-Z0']],['/tmp/dumpwork/pg18/pg_dump',['--compress=lz4']]] as const) {
  try {
  const c = createFingerprintCollector()
  const scan = await scanArchive(server.bytes(program, ['-Fc', ...args, '-d', 'w']), c.sink)
  const fp = c.finish({ encoding: scan.toc.encoding, settings: null, derived: derivedOfToc(scan.toc) })
  console.log(program, args, scan.toc.version, scan.toc.compression, scan.sizeBytes, scan.toc.entries.length)
  console.log(fp.tables.length, fp.largeObjects, fp.sequences.length, fp.notCompared.length, fp.derived.length)
  if (program === 'pg_dump' && args[0] === '-Z0' && args.length === 1) console.log(fp.tables.map(t=>[t.schema,t.name,t.rows,t.digest.slice(0,8),t.columns?.join()?.slice(0,50),t.viaRoot?.name].join('|')).join('\n'), fp.sequences)
  if (String(program).includes('18')) console.log(fp.tables.filter(t=>t.viaRoot))
  const {createHash}=await import('node:crypto'); console.log(createHash('md5').update(JSON.stringify(fp.tables.map(t=>[t.name,t.rows,t.digest]).sort())).digest('hex'))
  } catch (e) { console.log(program, args, e) }
}
