/** Nobody reads any more: the reader of a pipe is gone (`| head`), or the terminal was closed. */
const closed = new Set(['EPIPE', 'EIO', 'ENXIO', 'ECONNRESET', 'ERR_STREAM_DESTROYED'])

/**
 * What cannot be written must neither end a run in the middle nor change how it ended: without a listener Node would end the process here and now, no
 * scope left and no lease given back. Where nobody reads any more, the work goes on in silence and the exit code tells. Any other error, such as a full
 * disk under `> file`, lost a result that somebody waits for: it is said on stderr, and a run that was well ends with 3.
 */
export function outliveClosedOutput(run: NodeJS.Process): void {
  let isSaid = false
  run.stderr.on('error', () => undefined)
  run.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (isSaid || closed.has(error.code ?? '')) return
    isSaid = true
    run.stderr.write(`! the output could not be written: ${error.message}\n`)
    run.on('exit', (code) => {
      if (code === 0) run.exitCode = 3
    })
  })
}
