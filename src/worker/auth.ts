/** Compares secrets without telling by the time it takes how much of them is right. */

/** node:crypto is loaded at the first use: most workers have no token. */
export function matchesToken(given: string, expected: string): boolean {
  const {createHash, timingSafeEqual} = process.getBuiltinModule('node:crypto');
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}
