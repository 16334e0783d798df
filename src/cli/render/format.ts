/** Words for numbers: binary units for sizes, hours and minutes for durations. */

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** `84.2 GiB`, `312 B`. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`
}

/** `0.4 s`, `42 s`, `4:28`, `1:02:03`. */
export function formatDuration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  const two = (n: number) => String(n).padStart(2, '0')
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60]
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}

/** `2026-11-21 11:08:40` of an RFC 3339 time, as it stands (UTC). */
export function formatUtc(time: string): string {
  return time.slice(0, 19).replace('T', ' ')
}

/** `1,234,567` */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US')
}

/**
 * Text from outside (server messages, names) made harmless for a terminal and a log: control characters, ANSI escapes
 * and bidirectional overrides become visible `\xNN` / `\uNNNN`; line feeds stay only when `keepLines`.
 */
export function printable(text: string, keepLines = false): string {
  // oxlint-disable-next-line no-control-regex -- finding control characters is what this is for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (char) => {
    if (char === '\n' && keepLines) return char
    const code = char.charCodeAt(0)
    return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`
  })
}

/** Rows as aligned columns, two spaces between; the last column is not padded. Numbers given as text are the caller's choice. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, displayWidth(cell))
  return rows
    .map((row) => row.map((cell, column) => (column === row.length - 1 ? cell : cell + ' '.repeat((widths[column] ?? 0) - displayWidth(cell)))).join('  '))
    .join('\n')
}

/** Columns a terminal uses: styling takes none, wide characters two. */
export function displayWidth(text: string): number {
  let width = 0
  // Only escapes of our own colours can be here; everything else went through printable().
  // oxlint-disable-next-line no-control-regex -- colours begin with one
  for (const char of text.replaceAll(/\u001b\[[0-9;]*m/g, ''))
    width += /\p{Extended_Pictographic}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/u.test(char) ? 2 : 1
  return width
}
