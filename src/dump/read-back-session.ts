/** What reading a copy back needs of a session (`postgres/session.ts` gives it). */
export interface ReadingSession {
  query<Row extends object = Record<string, unknown>>(sql: string): Promise<readonly Row[]>
  /** Bytes of COPY TO STDOUT; rejects when the server or the connection ends it early. */
  copyOut(sql: string): AsyncIterable<Uint8Array>
}
