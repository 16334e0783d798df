'use strict'
// What `require('tidemark')` and `import 'tidemark'` get first, in whatever Node the host application runs: plain old JavaScript.
const { existsSync } = require('node:fs')
const { join } = require('node:path')

const needed = 26
if (Number(process.versions.node.split('.')[0]) < needed) {
  const error = new Error(
    `the Node API of tidemark needs Node ${needed} or newer; this is ${process.version} (${process.execPath}). ` +
      'Run your program with the one that came with it (npx node FILE) or a newer one, or start the command, which brings its own: npx tidemark backup --json',
  )
  error.code = 'ERR_TIDEMARK_NODE_VERSION'
  throw error
}

// In a checkout the sources themselves run, as they do for the command.
const source = join(__dirname, '..', 'src', 'api', 'index.ts')
module.exports = existsSync(source) ? require(source) : require('../dist/api/index.js')
