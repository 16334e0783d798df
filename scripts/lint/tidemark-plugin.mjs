// The lint rules that are Tidemark's own: walls between rooms, the edges of the program, names. CODING.md says what they guard.
import { posix, relative, sep } from 'node:path'
import { clockIsReadBy, emptyTypeWords, emptyWords, processIsTouchedBy, rooms, stdoutIsWrittenBy } from './rooms.mjs'

/** `src/postgres/session.ts` of whatever directory the tree is in; null outside of src/. */
function placeOf(context) {
  const path = relative('/', context.filename).split(sep).join('/')
  const match = /(?:^|\/)(src\/(?:[^/]+\/)*[^/]+)$/.exec(path)
  return match === null ? null : match[1].slice(match[1].lastIndexOf('src/'))
}

const isTest = (place) => /\.test\.ts$|(^|\/)test-[^/]*\.ts$/.test(place)
const roomOf = (place) => /^src\/([^/]+)\//.exec(place)?.[1]

const walls = {
  create(context) {
    const place = placeOf(context)
    const room = place === null ? undefined : roomOf(place)
    if (room === undefined || isTest(place)) return {}
    const check = (node, source, typeOnly) => {
      if (typeof source !== 'string' || !source.startsWith('.')) return
      const target = posix.join(posix.dirname(place), source)
      const other = roomOf(target)
      if (!target.startsWith('src/')) {
        context.report({ node, message: `src/${room} imports ${source}, which is not part of the program` })
        return
      }
      if (other === undefined || other === room) return
      const { imports, types } = rooms[room] ?? { imports: [], types: [] }
      if (imports.includes(other) || (typeOnly && types.includes(other))) return
      const allowed = [...imports, ...types.map((name) => `types of ${name}`)].join(', ')
      context.report({
        node,
        message: `src/${room} may not import src/${other}; it may import: ${allowed || 'nothing of ours'} (CODING.md, scripts/lint/rooms.mjs)`,
      })
    }
    const onlyTypes = (node) => node.importKind === 'type' || (node.specifiers?.length > 0 && node.specifiers.every((one) => one.importKind === 'type'))
    return {
      Program(node) {
        if (rooms[room] === undefined) context.report({ node, message: `src/${room} is not a room of scripts/lint/rooms.mjs` })
      },
      ImportDeclaration: (node) => check(node, node.source.value, onlyTypes(node)),
      ExportNamedDeclaration: (node) => node.source != null && check(node, node.source.value, node.exportKind === 'type'),
      ExportAllDeclaration: (node) => check(node, node.source.value, node.exportKind === 'type'),
      ImportExpression: (node) => check(node, node.source.value, false),
      TSImportType: (node) => check(node, (node.source ?? node.argument?.literal ?? node.argument)?.value, true),
    }
  },
}

const among = (place, patterns) => patterns.some((pattern) => pattern.test(place))
const isMember = (node, object, property) =>
  node.object.type === 'Identifier' && node.object.name === object && node.property.type === 'Identifier' && node.property.name === property

const edges = {
  create(context) {
    const place = placeOf(context)
    if (place === null || isTest(place)) return {}
    const report = (node, message) => context.report({ node, message })
    const noProcess = (node) => report(node, 'process is touched only in src/cli and src/config/load.ts: have what you need handed in')
    const noClock = (node) => report(node, 'the clock is read only in src/kernel/clock.ts: have a Clock handed in')
    const rules = {}
    const visit = (type, visitor) => {
      const earlier = rules[type]
      rules[type] = earlier === undefined ? visitor : (node) => (earlier(node), visitor(node))
    }
    if (!among(place, processIsTouchedBy)) {
      visit('Identifier', (node) => {
        if (node.name !== 'process') return
        const parent = node.parent
        const isOnlyAName =
          (parent.type === 'MemberExpression' && parent.property === node && !parent.computed) ||
          (parent.key === node && !parent.computed && parent.value !== node) ||
          parent.type.startsWith('TS')
        const isDeclared = context.sourceCode
          .getScope(node)
          .references.some((reference) => reference.identifier === node && reference.resolved != null && reference.resolved.defs.length > 0)
        if (!isOnlyAName && !isDeclared && parent.type === 'MemberExpression') noProcess(node)
      })
      visit('ImportDeclaration', (node) => /^(node:)?process$/.test(node.source.value) && noProcess(node))
    }
    if (!among(place, clockIsReadBy)) {
      visit('MemberExpression', (node) => {
        if (isMember(node, 'Date', 'now') || isMember(node, 'Temporal', 'Now') || isMember(node, 'performance', 'now') || isMember(node, 'process', 'hrtime'))
          noClock(node)
      })
      visit('NewExpression', (node) => node.callee.type === 'Identifier' && node.callee.name === 'Date' && node.arguments.length === 0 && noClock(node))
      visit('CallExpression', (node) => node.callee.type === 'Identifier' && node.callee.name === 'Date' && noClock(node))
    }
    if (!among(place, stdoutIsWrittenBy)) {
      visit('MemberExpression', (node) => {
        if (
          node.property.type === 'Identifier' &&
          node.property.name === 'write' &&
          node.object.type === 'MemberExpression' &&
          isMember(node.object, 'process', 'stdout')
        ) {
          report(node, 'stdout is written only in src/cli/render')
        }
      })
    }
    visit('Property', (node) => {
      if (node.key.type === 'Identifier' && node.key.name === 'shell' && node.value.type === 'Literal' && node.value.value !== false)
        report(node, 'no shell ever: programs are started with argument arrays')
    })
    visit('ImportDeclaration', (node) => {
      if (!/^(node:)?child_process$/.test(node.source.value)) return
      for (const one of node.specifiers) if (/^exec(Sync)?$/.test(one.imported?.name ?? '')) report(one, `no shell ever: ${one.imported.name} starts one`)
    })
    return rules
  },
}

const lastWord = (name) => (name.match(/[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+/g) ?? []).at(-1)?.toLowerCase()

const names = {
  create(context) {
    const place = placeOf(context)
    if (place === null) return {}
    const check = (id, words) => {
      if (id?.type !== 'Identifier') return
      const word = lastWord(id.name)
      if (words.includes(word))
        context.report({ node: id, message: `"${id.name}" ends in "${word}", which says nothing: name what it is (CODING.md, rule 12)` })
    }
    return {
      Program(node) {
        const word = posix.basename(place).replace(/\..*$/, '').split('-').at(-1)
        if (emptyTypeWords.includes(word)) context.report({ node, message: `the file name ends in "${word}", which says nothing (CODING.md, rule 12)` })
      },
      ClassDeclaration: (node) => check(node.id, emptyTypeWords),
      TSInterfaceDeclaration: (node) => check(node.id, emptyTypeWords),
      TSTypeAliasDeclaration: (node) => check(node.id, emptyTypeWords),
      FunctionDeclaration: (node) => check(node.id, emptyWords),
      VariableDeclarator: (node) => check(node.id, emptyWords),
    }
  },
}

export default { meta: { name: 'tidemark' }, rules: { walls, edges, names } }
