/** Names of models as people declare them. */

export interface PinnedModel {
  /** As the server knows it. */
  readonly name: string;
  /** What its content is meant to be: `sha256:` and 12 (as `ollama list` shows) to 64 hexadecimal digits. */
  readonly digest?: string;
}

const pinned = /^(.+)@(sha256:[0-9a-f]{12,64})$/i;

/** `llama3.3:70b@sha256:a6eb4748fd29…` in its two parts. What has no digest of that form is a name as it stands. */
export function splitDigest(model: string): PinnedModel {
  const [, name, digest] = pinned.exec(model) ?? [];
  return name === undefined || digest === undefined ? {name: model} : {name, digest: digest.toLowerCase()};
}

/** What is wrong with the digest of a declared model; undefined: nothing, or it has none. */
export function digestFault(model: string): string | undefined {
  if (!/@sha256\b/i.test(model) || splitDigest(model).digest !== undefined) return undefined;
  return 'a digest is `@sha256:` and 12 to 64 hexadecimal digits, as `ollama list` shows them';
}
