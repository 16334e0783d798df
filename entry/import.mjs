// `import 'tidemark'`. Nothing of ours is linked before the version of Node was looked at: an older one would only say "does not provide an export".
import { createRequire } from 'node:module'

const api = createRequire(import.meta.url)('./require.cjs')

export const { openTidemark, createBackup, listBackups, verifyBackup, restoreBackup, Failure, isFailure } = api
export default api.default
