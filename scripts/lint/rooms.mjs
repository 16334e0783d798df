/** Who may import whom: the table of CODING.md. A room is a folder of src/; what is not listed for it is a wall. */
const ground = ['kernel', 'postgres', 'storage', 'stream', 'seal', 'pgdata', 'packs']
const verbs = ['backup', 'verify', 'restore']

export const rooms = {
  kernel: { imports: [], types: [] },
  postgres: { imports: ['kernel', 'stream', 'pgdata'], types: [] },
  storage: { imports: ['kernel'], types: [] },
  stream: { imports: ['kernel'], types: [] },
  seal: { imports: ['kernel', 'stream'], types: [] },
  pgdata: { imports: ['kernel', 'stream'], types: [] },
  packs: { imports: ['kernel', 'storage', 'stream', 'seal', 'pgdata'], types: [] },
  dump: { imports: ground, types: [] },
  repository: { imports: [...ground, 'dump'], types: [] },
  backup: { imports: [...ground, 'dump', 'repository'], types: [] },
  verify: { imports: [...ground, 'dump', 'repository'], types: [] },
  restore: { imports: [...ground, 'dump', 'repository'], types: [] },
  drill: { imports: [...ground, 'dump', 'repository', ...verbs], types: [] },
  config: { imports: ['kernel', 'postgres'], types: ['storage'] },
  api: { imports: [...ground, 'dump', 'repository', ...verbs, 'drill', 'config'], types: [] },
  cli: { imports: [...ground, 'dump', 'repository', ...verbs, 'drill', 'config', 'api'], types: [] },
}

/** May touch `process`: the edge; a program of its own that Tidemark forks; and signals to other processes, which have no other door. */
export const processIsTouchedBy = [
  /^src\/cli\//,
  /^src\/config\/load\.ts$/,
  /^src\/api\/server\.ts$/,
  /^src\/postgres\/embedded-watchdog\.ts$/,
  /^src\/postgres\/process-identity\.ts$/,
]
export const clockIsReadBy = [/^src\/kernel\/clock\.ts$/]
export const stdoutIsWrittenBy = [/^src\/cli\/render\//]

/** Words that say nothing, as the last word of a name. */
export const emptyWords = ['manager', 'helper', 'helpers', 'util', 'utils', 'dto', 'handler']
/** These only where a type or a file is named: libpq and Docker Compose both have a "service" of their own. */
export const emptyTypeWords = [...emptyWords, 'service', 'data', 'info']
