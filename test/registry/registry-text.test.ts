import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {parseRegistry, serializeRegistry} from '../../src/registry/registry-text.js';
import type {StoredEntries, StoredEntry} from '../../src/registry/registry-text.js';

const good = {port: 45000, component: 'athena', metadata: {pid: 1}, registered_at: 1234567890.123};

function stored(aiId: string, value: object): StoredEntry {
  const found = parseRegistry(JSON.stringify({[aiId]: value})).entries.get(aiId);
  if (found === undefined) throw new Error('not an entry');
  return found;
}

const anyEntry = fc.record({
  port: fc.integer({min: 1, max: 65535}),
  component: fc.string({unit: 'binary'}),
  metadata: fc.dictionary(fc.string({unit: 'binary'}), fc.jsonValue()),
  registered_at: fc.double({noNaN: true, noDefaultInfinity: true}),
});
const anyRegistry = fc.dictionary(fc.string({unit: 'binary'}), anyEntry);

describe('the registry file', () => {
  test('is what a JSON reader of the seed expects', () => {
    const entries: StoredEntries = new Map([['athena-ai', stored('athena-ai', good)]]);
    const text = serializeRegistry(entries);
    expect(JSON.parse(text)).toEqual({'athena-ai': good});
    expect(text.split('\n')).toHaveLength(4);
    expect(JSON.parse(serializeRegistry(new Map()))).toEqual({});
  });

  test('of any content comes back as it was, in our layout and in every other', () => {
    fc.assert(
      fc.property(anyRegistry, fc.constantFrom(0, 2, 4), (registry, indent) => {
        const {entries, damage} = parseRegistry(JSON.stringify(registry, null, indent));
        expect(damage).toBeUndefined();
        const again = parseRegistry(serializeRegistry(entries));
        expect(again.damage).toBeUndefined();
        expect([...again.entries]).toEqual([...entries]);
        expect(Object.fromEntries([...again.entries].map(([k, v]) => [k, v.entry]))).toEqual(
          JSON.parse(JSON.stringify(registry)),
        );
      }),
      {numRuns: 300},
    );
  });

  test('keeps what a foreign program wrote, unknown fields and number formats included', () => {
    const text = '{"old-ai": {\n  "port": 46000,\n  "registered_at": 1.50,\n  "extra": [1e2]\n}}';
    const {entries, damage} = parseRegistry(text);
    expect(damage).toBeUndefined();
    expect(entries.get('old-ai')?.entry).toMatchObject({port: 46000, component: '', metadata: {}, registered_at: 1.5});
    expect(serializeRegistry(entries)).toContain('"registered_at": 1.50, "extra": [1e2]');
  });

  test.each([
    ['a stray brace', text => `${text}}`],
    ['a lost beginning', text => text.slice(2)],
    ['garbage before', text => `\0\0\xff${text}`],
    ['a conflict marker', text => `<<<<<<< mine\n${text}`],
  ] satisfies [string, (text: string) => string][])('saves every entry from %s', (_name, damageIt) => {
    const entries: StoredEntries = new Map(
      [1, 2, 3].map(n => [`a${n}-ai`, stored(`a${n}-ai`, {...good, port: 45000 + n})]),
    );
    const found = parseRegistry(damageIt(serializeRegistry(entries)));
    expect(found.damage).toBe('it is not valid JSON');
    expect([...found.entries.keys()]).toEqual(['a1-ai', 'a2-ai', 'a3-ai']);
  });

  test('makes no name of what is left of a key', () => {
    const text = serializeRegistry(
      new Map([1, 2].map(n => [`a${n}-ai`, stored(`a${n}-ai`, {...good, port: 45000 + n})])),
    );
    for (const garbage of ['\0\ufffd', '<<<<<<< HEAD\n', '\ufffd"', 'x\n']) {
      const found = parseRegistry(text.replace('  "a2', `${garbage}"`));
      expect([...found.entries.keys()]).toEqual(['a1-ai']);
    }
  });

  test('cut off anywhere keeps every entry that is whole', () => {
    const entries: StoredEntries = new Map(
      [1, 2, 3].map(n => [`a${n}-ai`, stored(`a${n}-ai`, {...good, port: 45000 + n})]),
    );
    const text = serializeRegistry(entries);
    const lineEnds = text.split('\n').map((_, n, lines) => lines.slice(0, n + 1).join('\n').length);
    for (let length = 0; length < text.length - 1; length++) {
      const whole = lineEnds.filter((end, n) => n > 0 && n < 4 && end - (n < 3 ? 1 : 0) <= length).length;
      const {entries: saved, damage} = parseRegistry(text.slice(0, length));
      expect(damage === undefined).toBe(false);
      expect(saved.size).toBe(whole);
    }
  });

  test.each([
    ['', 'it is empty'],
    ['  \n', 'it is empty'],
    ['nonsense', 'it is not valid JSON'],
    ['[]', 'it is not an object'],
    ['null', 'it is not an object'],
    ['{"bad-ai": {"port": "x"}}', 'bad entries: bad-ai'],
    ['{"bad-ai": 3}', 'bad entries: bad-ai'],
    ['{"bad-ai": {"port": 70000}}', 'bad entries: bad-ai'],
  ])('%j is damaged', (text, damage) => {
    const found = parseRegistry(text);
    expect(found.damage).toBe(damage);
    expect(found.entries.size).toBe(0);
  });

  test('with one bad entry among good ones loses that one alone', () => {
    const {entries, damage} = parseRegistry(JSON.stringify({'a-ai': good, 'b-ai': {port: null}, 'c-ai': good}));
    expect(damage).toBe('bad entries: b-ai');
    expect([...entries.keys()]).toEqual(['a-ai', 'c-ai']);
  });

  test('may have a key of the name __proto__', () => {
    const {entries} = parseRegistry(`{"__proto__": ${JSON.stringify(good)}}`);
    expect(entries.get('__proto__')?.entry.port).toBe(45000);
    expect(JSON.stringify({}).length).toBe(2);
  });
});
