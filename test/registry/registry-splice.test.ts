import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {compareRegistries, isLinewise, spliceRegistry} from '../../src/registry/registry-splice.js';
import {parseRegistry, serializeRegistry, storedEntry} from '../../src/registry/registry-text.js';
import type {RegistryEntry} from '../../src/registry/registry-text.js';

type State = ReadonlyMap<string, RegistryEntry>;

const aiId = fc.oneof(fc.constantFrom('a-ai', 'ab-ai', 'b-ai', '__proto__', '{"x": {'), fc.string({unit: 'binary'}));
const entry = fc.record({
  port: fc.integer({min: 1, max: 65535}),
  component: fc.oneof(fc.constant('a'), fc.string({unit: 'binary'})),
  metadata: fc.dictionary(fc.string({maxLength: 3}), fc.string({maxLength: 3}), {maxKeys: 2}),
  registered_at: fc.nat(9),
});
const someState: fc.Arbitrary<State> = fc
  .array(fc.tuple(aiId, entry), {maxLength: 8})
  .map(pairs => new Map(pairs.map(([id, made]) => [id, JSON.parse(JSON.stringify(made)) as RegistryEntry])));
const someChanges = fc
  .array(fc.tuple(aiId, fc.option(entry, {nil: undefined})), {maxLength: 4})
  .map(pairs => new Map(pairs));

const bytesOf = (state: State): Buffer =>
  Buffer.from(serializeRegistry(new Map([...state].map(([id, made]) => [id, storedEntry(id, made)]))));
const stateOf = (bytes: Buffer): Record<string, RegistryEntry> =>
  Object.fromEntries([...parseRegistry(bytes.toString()).entries].map(([id, stored]) => [id, stored.entry]));

function changed(state: State, changes: ReadonlyMap<string, RegistryEntry | undefined>): Map<string, RegistryEntry> {
  const next = new Map(state);
  for (const [id, made] of changes) {
    if (made === undefined) next.delete(id);
    else next.set(id, made);
  }
  return next;
}

const plain = (state: State): unknown => JSON.parse(JSON.stringify(Object.fromEntries(state)));

describe('a registry that is changed line by line', () => {
  test('is what it would be if it were written anew', () => {
    fc.assert(
      fc.property(someState, someChanges, (state, changes) => {
        const before = bytesOf(state);
        if (!isLinewise(before)) return;
        const now = spliceRegistry(before, id => state.has(id), changes);
        const wanted = changed(state, changes);
        if (now === undefined) expect(wanted.size).toBe(0);
        else {
          expect(parseRegistry(now.toString()).damage).toBeUndefined();
          expect(stateOf(now)).toEqual(plain(wanted));
        }
      }),
      {numRuns: 1_000},
    );
  });

  test('is read from the lines that differ as it would be from all', () => {
    fc.assert(
      fc.property(someState, someChanges, someState, fc.boolean(), (state, changes, other, isSimilar) => {
        const before = bytesOf(state);
        const now = bytesOf(isSimilar ? changed(state, changes) : other);
        if (!isLinewise(before)) return;
        const found = compareRegistries(before, now, state);
        if (found !== undefined) expect(plain(changed(state, found))).toEqual(stateOf(now));
      }),
      {numRuns: 3_000},
    );
  });

  test('is never taken for sound after any cut, insertion or replacement that makes it unsound or ambiguous', () => {
    const bit = fc.constantFrom('', ',', '\n', '}', '{', '"', ',\n', '\n}\n', '  "a-ai": {"port":1}', ' ');
    fc.assert(
      fc.property(someState, fc.nat(), fc.nat(9), bit, (state, at, length, insert) => {
        const before = bytesOf(state);
        if (!isLinewise(before)) return;
        const place = at % before.length;
        const now = Buffer.concat([before.subarray(0, place), Buffer.from(insert), before.subarray(place + length)]);
        const found = compareRegistries(before, now, state);
        if (found === undefined) return;
        const whole = parseRegistry(now.toString());
        expect(whole.damage).toBeUndefined();
        expect(plain(changed(state, found))).toEqual(stateOf(now));
      }),
      {numRuns: 5_000},
    );
  });

  test.each(['}', '\n}', '}\n}'])('sees what was appended before a closing brace: %j', stray => {
    const state = new Map([
      ['a-ai', sample(1)],
      ['b-ai', sample(2)],
    ]);
    const before = bytesOf(state);
    expect(compareRegistries(before, Buffer.from(`${before.toString()}${stray}\n`), state)).toBeUndefined();
  });

  test('gives one line for one change among many', () => {
    const state = new Map(Array.from({length: 1_000}, (_, n) => [`a${n}-ai`, sample(n + 1)]));
    const now = bytesOf(new Map([...state, ['a500-ai', sample(7)], ['new-ai', sample(8)]]));
    expect(compareRegistries(bytesOf(state), bytesOf(new Map([...state, ['new-ai', sample(8)]])), state)?.size).toBe(1);
    expect(compareRegistries(bytesOf(state), now, state)?.size).toBe(2);
    expect(compareRegistries(bytesOf(state), bytesOf(state), state)?.size).toBe(0);
  });
});

function sample(port: number): RegistryEntry {
  return {port, component: 'a', metadata: {}, registered_at: 1};
}
