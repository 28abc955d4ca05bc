import {mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {beforeEach, describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {ensureStateHome} from '../../src/registry/home.js';
import {realSteps} from '../../src/registry/files.js';
import type {FileSteps} from '../../src/registry/files.js';
import {holdLock} from '../../src/registry/locks.js';
import {statePaths} from '../../src/registry/paths.js';
import {RegistryFile} from '../../src/registry/registry-file.js';
import type {RegistryState} from '../../src/registry/registry-file.js';
import type {RegistryEntry} from '../../src/registry/registry-text.js';
import {tempHome} from './support.js';

let home = '';
let path = '';

beforeEach(async () => {
  home = tempHome();
  path = statePaths(home).registry;
  await ensureStateHome(home);
});

function entry(port: number): RegistryEntry {
  return {port, component: 'athena', metadata: {uid: `u${port}`}, registered_at: 1};
}

function open(
  more: {rebuild?: () => Promise<RegistryState>; steps?: FileSteps} = {},
): RegistryFile & {healings: string[]} {
  const healings: string[] = [];
  const file = new RegistryFile({
    home,
    rebuild: async () => new Map(),
    onHealed: async ({damage, movedTo}) =>
      void healings.push(`${damage}: ${readdirSync(home).includes(movedTo.slice(home.length + 1))}`),
    ...more,
  });
  return Object.assign(file, {healings});
}

const put =
  (aiId: string, port: number) =>
  (state: RegistryState): RegistryState =>
    new Map(state).set(aiId, entry(port));

const without =
  (aiId: string) =>
  (state: RegistryState): RegistryState =>
    new Map([...state].filter(([other]) => other !== aiId));

const onDisk = (): unknown => JSON.parse(readFileSync(path, 'utf8'));

describe('update', () => {
  test('commits what concurrent callers change as few writes, each caller seeing its own state', async () => {
    let writes = 0;
    const steps = {...realSteps, rename: (from: string, to: string) => (writes++, realSteps.rename(from, to))};
    const file = open({steps});
    const states = await Promise.all(Array.from({length: 50}, (_, n) => file.update(put(`a${n}-ai`, 45000 + n))));
    expect(states.map(state => state.size)).toEqual(Array.from({length: 50}, (_, n) => n + 1));
    expect(Object.keys(onDisk() as object)).toHaveLength(50);
    expect(writes).toBeLessThanOrEqual(2);
  });

  // `jq .` and the like; and an entry whose last brace stands with what is before it.
  const layouts = {
    indented: (text: string) => text,
    compact: (text: string) => text.replace(/\n\s*\}(?=[,}\n])/g, ' }'),
  };

  test.each([
    ['replaced', 'indented'],
    ['removed', 'indented'],
    ['replaced', 'compact'],
    ['removed', 'compact'],
  ] as const)('an entry of a file that somebody has laid out anew is %s whole (%s)', async (how, layout) => {
    const before = {'a-ai': entry(45000), 'b-ai': entry(45001)};
    const text = layouts[layout](JSON.stringify(before, null, 2));
    writeFileSync(path, `${text.replace(/\s*\}$/, '\n}')}\n`);
    const file = open();
    await file.update(how === 'replaced' ? put('a-ai', 45002) : without('a-ai'));
    const {'a-ai': _, ...rest} = before;
    expect(onDisk()).toEqual(how === 'replaced' ? {...before, 'a-ai': entry(45002)} : rest);
    expect(file.healings).toEqual([]);
  });

  test('sees what is removed from a file that somebody has laid out anew', async () => {
    const laidOut = (value: object): void => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
    laidOut({'a-ai': entry(45000), 'b-ai': entry(45001)});
    const file = open();
    await file.read();
    laidOut({'b-ai': entry(45001)});
    expect([...(await file.read()).keys()]).toEqual(['b-ai']);
  });

  test('rejects a change that throws alone', async () => {
    const file = open();
    const failing = file.update(() => {
      throw new Error('mine');
    });
    const [first, second] = await Promise.allSettled([failing, file.update(put('a-ai', 45000))]);
    expect(first).toMatchObject({status: 'rejected', reason: {message: 'mine'}});
    expect(second.status).toBe('fulfilled');
    expect(onDisk()).toEqual({'a-ai': entry(45000)});
  });

  test('writes nothing when the state comes back as it was given', async () => {
    const file = open();
    await file.update(put('a-ai', 45000));
    const {ino} = statSync(path);
    await file.update(state => state);
    expect(statSync(path).ino).toBe(ino);
  });

  test('starts again when a writer that takes no lock came in between', async () => {
    const file = open();
    let interfere = true;
    const state = await file.update(before => {
      if (interfere) writeFileSync(path, JSON.stringify({'foreign-ai': entry(46000)}));
      interfere = false;
      return put('a-ai', 45000)(before);
    });
    expect([...state.keys()]).toEqual(['foreign-ai', 'a-ai']);
    expect(onDisk()).toEqual({'foreign-ai': entry(46000), 'a-ai': entry(45000)});
  });

  test('after a failure of the disk memory and disk agree, and the next change works', async () => {
    let full = true;
    const write: FileSteps['write'] = (fd, data) => {
      if (full) throw Object.assign(new Error('ENOSPC'), {code: 'ENOSPC'});
      return realSteps.write(fd, data);
    };
    const file = open({steps: {...realSteps, write}});
    await expect(file.update(put('a-ai', 45000))).rejects.toThrow('no space left on the device');
    expect((await file.read()).size).toBe(0);
    full = false;
    await file.update(put('b-ai', 45001));
    expect([...(await file.read()).keys()]).toEqual(['b-ai']);
  });

  test('says that the lock is busy, having changed nothing', async () => {
    const lock = await holdLock(home, 'registration');
    const file = new RegistryFile({home, lockTimeoutMs: 30, rebuild: async () => new Map()});
    const changes = [file.update(put('a-ai', 1)), file.update(put('b-ai', 2))];
    for (const change of changes) await expect(change).rejects.toThrow('cannot lock registration');
    expect((await file.read()).size).toBe(0);
    await lock.release();
    await file.update(put('a-ai', 1));
  });
});

test('read waits for no writer', async () => {
  const file = open();
  await file.update(put('a-ai', 45000));
  const lock = await holdLock(home, 'registration');
  expect((await open().read()).get('a-ai')).toEqual(entry(45000));
  await lock.release();
});

describe('a damaged registry', () => {
  const rebuild = async (): Promise<RegistryState> =>
    new Map([
      ['runs-ai', entry(45007)],
      ['a-ai', entry(45008)],
      ['twice-ai', entry(45000)],
    ]);

  test.each([
    ['truncated', (text: string) => text.slice(0, -3)],
    ['with a stray brace', (text: string) => `${text}}`],
    ['with a bad entry', (text: string) => text.replace('{\n', '{\n"bad-ai": {"port": -1},\n')],
  ])('%s is read with its good entries and those that run, and healed by the next change', async (_name, harm) => {
    await open().update(state => put('b-ai', 45001)(put('a-ai', 45000)(state)));
    writeFileSync(path, harm(readFileSync(path, 'utf8')));
    const file = open({rebuild});
    const expected = {'a-ai': entry(45000), 'b-ai': entry(45001), 'runs-ai': entry(45007)};

    expect(Object.fromEntries(await file.read())).toEqual(expected);
    await file.update(state => state);
    expect(onDisk()).toEqual(expected);
    expect(file.healings).toEqual([expect.stringMatching(/: true$/)]);
  });

  test.each([
    ['empty', () => writeFileSync(path, '')],
    ['garbage', () => writeFileSync(path, '\xff\xfe garbage')],
    ['a folder', () => mkdirSync(path)],
    ['missing', () => rmSync(path, {force: true})],
  ])('%s is rebuilt from what runs', async (name, make) => {
    make();
    const file = open({rebuild});
    await file.update(put('new-ai', 45050));
    expect(Object.keys(onDisk() as object)).toEqual(['runs-ai', 'a-ai', 'twice-ai', 'new-ai']);
    expect(file.healings).toHaveLength(name === 'missing' ? 0 : 1);
    expect(readdirSync(home).filter(file => file.includes('.corrupt-'))).toHaveLength(name === 'missing' ? 0 : 1);
  });
});

test('any sequence of changes by two writers agrees with a plain map', async () => {
  const command = fc.record({
    writer: fc.nat(1),
    aiId: fc.constantFrom('a-ai', 'b-ai', 'c-ai', '__proto__', 'ä "quoted"\n-ai'),
    port: fc.option(fc.integer({min: 1, max: 65535})),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(command, {maxLength: 8}), async commands => {
      rmSync(path, {force: true});
      const writers = [open(), open()];
      const model = new Map<string, RegistryEntry>();
      for (const {writer, aiId, port} of commands) {
        if (port === null) model.delete(aiId);
        else model.set(aiId, entry(port));
        await writers[writer]?.update(state => {
          const next = new Map(state);
          if (port === null) next.delete(aiId);
          else next.set(aiId, entry(port));
          return next;
        });
      }
      for (const reader of [...writers, open()]) expect(await reader.read()).toEqual(model);
    }),
    {numRuns: 20},
  );
});
