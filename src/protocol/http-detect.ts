/** Tells HTTP from newline JSON by the first bytes of a connection. */

const methods = ['GET ', 'POST ', 'PUT ', 'HEAD ', 'DELETE ', 'OPTIONS ', 'PATCH ', 'CONNECT ', 'TRACE ', 'PRI '];

export type Detected = 'http' | 'json' | 'undecided';

/** `undecided` only while the bytes are the beginning of a method's name; any other first byte decides. */
export function detect(bytes: Uint8Array): Detected {
  const start = String.fromCharCode(...bytes.subarray(0, 8));
  if (methods.some(method => start.startsWith(method))) return 'http';
  return methods.some(method => method.startsWith(start)) ? 'undecided' : 'json';
}
