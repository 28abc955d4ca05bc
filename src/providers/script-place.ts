/** Values of an answers file, checked one by one, each with the name that a person finds it by. */

/** A file that can't be used: says where and why. */
export class ScriptError extends Error {
  override readonly name = 'ScriptError';
}

/** One value of the file with the name that a person finds it by: `rules[2].error.code`. */
export class Place {
  constructor(
    readonly name: string,
    readonly value: unknown,
  ) {}

  fail(what: string): never {
    throw new ScriptError(`${this.name} ${what}`);
  }

  /** Holds that this is a mapping with no other fields than these. */
  only(...fields: readonly string[]): void {
    for (const field of Object.keys(this.mapping())) {
      if (!fields.includes(field)) this.fail(`has an unknown field "${field}"; known are ${fields.join(', ')}`);
    }
  }

  mapping(): Readonly<Record<string, unknown>> {
    if (typeof this.value !== 'object' || this.value === null || Array.isArray(this.value)) {
      return this.fail('must be a mapping');
    }
    return this.value as Record<string, unknown>; // YAML mappings have text keys here
  }

  child(field: string): Place {
    return new Place(this.name === 'the file' ? field : `${this.name}.${field}`, this.mapping()[field] ?? undefined);
  }

  list(): readonly Place[] {
    if (this.value === undefined) return [];
    if (!Array.isArray(this.value)) return this.fail('must be a list');
    return this.value.map((value: unknown, index) => new Place(`${this.name}[${index}]`, value));
  }

  string(): string | undefined {
    return this.value === undefined || typeof this.value === 'string' ? this.value : this.fail('must be text');
  }

  boolean(absent: boolean): boolean {
    if (this.value === undefined) return absent;
    return typeof this.value === 'boolean' ? this.value : this.fail('must be true or false');
  }

  count(): number | undefined {
    if (this.value === undefined) return undefined;
    const ok = typeof this.value === 'number' && Number.isSafeInteger(this.value) && this.value >= 0;
    return ok ? this.value : this.fail('must be a whole number, 0 or more'); // `ok` says so
  }

  oneOf<T extends string>(known: Readonly<Record<T, true>>, absent: T): T {
    if (this.value === undefined) return absent;
    if (typeof this.value === 'string' && Object.hasOwn(known, this.value)) return this.value as T; // a key of `known`
    return this.fail(`must be one of ${Object.keys(known).join(', ')}`);
  }
}
