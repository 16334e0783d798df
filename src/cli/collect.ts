/** For options that may be given several times: one value each, so that a following argument is never swallowed. */
export function collect(value: string, earlier: readonly string[] | undefined): string[] {
  return [...(earlier ?? []), value]
}
