/** Keeps key-like text out of everything that is printed. */

/** Beginnings of well-known keys: of Anthropic and OpenAI, GitHub, GitLab, AWS, Google, Hugging Face, Slack; JWT; PEM. */
const keys = [
  /\bsk-[A-Za-z0-9_-]{8,}/,
  /\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{16,}/,
  /\bgithub_pat_[A-Za-z0-9_]{16,}/,
  /\bglpat-[A-Za-z0-9_-]{16,}/,
  /\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/,
  /\bAIza[0-9A-Za-z_-]{30,}/,
  /\bhf_[A-Za-z0-9]{20,}/,
  /\bxox[abeprs]-[A-Za-z0-9-]{10,}/,
  /\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?/,
  /-----BEGIN [A-Z ]*PRIVATE KEY-----/,
] as const;

/** Long random-looking text: might be no secret, but nobody needs to read it in an error. */
const random = [
  /\b[0-9A-Fa-f]{32,}\b/,
  /(?<![A-Za-z0-9+/_=-])(?=[A-Za-z0-9+/_-]*[0-9])(?=[A-Za-z0-9+/_-]*[a-z])(?=[A-Za-z0-9+/_-]*[A-Z])[A-Za-z0-9+/_-]{32,}={0,2}/,
] as const;

const secretName =
  '(?:(?:api|access|private|secret)[_-]?key|token|passw(?:or)?d|passphrase|secret|credential|authorization)';
const endsLikeSecret = new RegExp(`${secretName}$`, 'i');
/** A secret's name and what stands behind it, unless that begins a reference. */
const assigned = new RegExp(`(${secretName}["']?\\s*[:=]\\s*)(?!\\s|\\{\\s*["']?(?:env|file)["']?\\s*:)(.+)$`, 'i');
const userInfo = /(:\/\/)([^\s/@]+)(?=@)/g;
const inQuery = new RegExp(`([?&][^=&\\s]*(?:${secretName}|key)=)([^&\\s"']+)`, 'gi');

const everywhere = [...keys, ...random].map(pattern => new RegExp(pattern, 'g'));

/** Whether a text holds something that is surely meant to be a key. */
export function looksLikeKey(text: string): boolean {
  return keys.some(pattern => pattern.test(text));
}

/** Whether a field or variable of this name holds a secret: `apiKey`, `HF_TOKEN`, but not `maxTokens`. */
export function namesSecret(name: string): boolean {
  return endsLikeSecret.test(name);
}

/** The line with key-like text as asterisks, one for each character, so that columns stay true. */
export function maskLine(line: string): string {
  return maskKeys(line).replace(assigned, (_, before: string, value: string) => before + stars(value));
}

/** As `maskLine`, for prose: what follows the mere name of a secret stays. */
export function maskKeys(text: string): string {
  const plain = text
    .replace(userInfo, (_, before: string, value: string) => before + stars(value))
    .replace(inQuery, (_, before: string, value: string) => before + stars(value));
  return everywhere.reduce((masked, pattern) => masked.replace(pattern, stars), plain);
}

function stars(text: string): string {
  return '*'.repeat(text.length);
}
