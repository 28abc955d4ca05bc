/** Secrets of one delivery: looked up for it, and kept out of whatever is said of it. */
import type {TextOrSecret} from '../api/notifications.js';
import {maskKeys} from '../api/mask.js';
import type {SecretRef} from '../api/types.js';
import type {NotifyDeps} from './deps.js';
import {DeliveryError} from './error.js';

export class DeliverySecrets {
  readonly #values = new Set<string>();

  constructor(
    private readonly deps: Pick<NotifyDeps, 'resolve'>,
    private readonly envFile: string | undefined,
  ) {}

  /** @throws {DeliveryError} saying what a person must set */
  async text(value: TextOrSecret): Promise<string> {
    return typeof value === 'string' ? value : this.value(value);
  }

  /** @throws {DeliveryError} saying what a person must set */
  async value(ref: SecretRef): Promise<string> {
    const found = await this.deps.resolve(ref, this.envFile);
    // Set by a person, at any time: worth another try no sooner than the next event.
    if ('missing' in found) throw new DeliveryError(found.missing, {retry: false});
    for (const part of partsOf(found.value)) this.#values.add(part);
    return found.value;
  }

  async all(values: Readonly<Record<string, TextOrSecret>>): Promise<Record<string, string>> {
    const entries = Object.entries(values).map(async ([name, value]) => [name, await this.text(value)] as const);
    return Object.fromEntries(await Promise.all(entries));
  }

  /** The text without any of them, and without what looks like one. */
  redact(text: string): string {
    const byLength = [...this.#values].sort((a, b) => b.length - a.length);
    return maskKeys(byLength.reduce((shown, value) => shown.replaceAll(value, '***'), text));
  }
}

/** A receiver may say back a part alone: the path of an address, the token behind `Bearer`. */
function partsOf(secret: string): readonly string[] {
  const parts = [secret, ...secret.split(/\s+/).filter(word => word.length >= 8)];
  if (!URL.canParse(secret)) return parts;
  const {pathname, search, username, password} = new URL(secret);
  const ofUrl = [`${pathname}${search}`, pathname, search, username, password, ...pathname.split('/')];
  return [...parts, ...ofUrl.filter(part => part.length >= 4)];
}
