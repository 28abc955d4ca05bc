/** Reads fields of a JSON body, and names the one that is wrong. */
import {Problem} from './problem.js';

export type JsonRecord = Readonly<Record<string, unknown>>;

/** One place in the body: its fields, and how it is called in errors (`messages[2].`; '' for the body itself). */
export class Fields {
  readonly #record: JsonRecord;
  readonly path: string;

  /** @throws {Problem} it is no object */
  constructor(value: unknown, path: string) {
    if (!isRecord(value)) throw wrong(path === '' ? 'the body' : path, 'must be an object');
    this.#record = value;
    this.path = path;
  }

  /** A null counts as absent, and so does what is inherited (`__proto__`). */
  get(name: string): unknown {
    return Object.hasOwn(this.#record, name) ? (this.#record[name] ?? undefined) : undefined;
  }

  at(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`;
  }

  /** @throws {Problem} */
  string(name: string): string | undefined {
    const value = this.get(name);
    if (value === undefined || typeof value === 'string') return value;
    throw this.wrong(name, 'must be a string');
  }

  /** Not empty. @throws {Problem} */
  neededString(name: string): string {
    const value = this.string(name);
    if (value === undefined || value === '') throw this.wrong(name, 'is needed');
    return value;
  }

  /** @throws {Problem} */
  flag(name: string): boolean {
    const value = this.get(name) ?? false;
    if (typeof value === 'boolean') return value;
    throw this.wrong(name, 'must be true or false');
  }

  /** @throws {Problem} */
  number(name: string, [least, most]: readonly [number, number]): number | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && value >= least && value <= most) return value;
    throw this.wrong(name, `must be a number from ${least} to ${most}`);
  }

  /** @throws {Problem} */
  integer(name: string, least = Number.MIN_SAFE_INTEGER): number | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least) return value;
    throw this.wrong(name, least > 0 ? 'must be a positive whole number' : 'must be a whole number');
  }

  /** @throws {Problem} */
  object(name: string): Fields | undefined {
    const value = this.get(name);
    return value === undefined ? undefined : new Fields(value, this.at(name));
  }

  /** A list of objects; absent: empty. @throws {Problem} */
  objects(name: string): readonly Fields[] {
    const value = this.get(name) ?? [];
    if (!Array.isArray(value)) throw this.wrong(name, 'must be a list');
    return value.map((item, index) => new Fields(item, `${this.at(name)}[${index}]`));
  }

  /** A JSON Schema, say: what is in it is the provider's affair. @throws {Problem} */
  record(name: string): JsonRecord | undefined {
    const value = this.get(name);
    if (value === undefined || isRecord(value)) return value;
    throw this.wrong(name, 'must be an object');
  }

  wrong(name: string, what: string, code = 'invalid_value'): Problem {
    return wrong(this.at(name), what, code);
  }
}

function wrong(param: string, what: string, code = 'invalid_value'): Problem {
  return new Problem(400, `${param} ${what}`, {param, code});
}

function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
