/** Wall time as people write it. */

/** ms since 1970 of an ISO 8601 text. */
export function msOf(iso: string): number {
  return Date.parse(iso);
}

/** To the second, in UTC: `2026-01-05T08:00:00Z`. */
export function isoOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
