interface Room {
  readonly imports: readonly string[]
  readonly types: readonly string[]
}
export const rooms: Readonly<Record<string, Room>>
