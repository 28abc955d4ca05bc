/** Random histories of several clients, foreign programs and damage, beside a plain map. fast-check prints the seed that replays one. */
import {existsSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {PortRegisteredError, RegistryClient} from '../../src/index.js';
import {statePaths} from '../../src/registry/paths.js';
import {PortAllocator} from '../../src/registry/ports.js';
import {identify} from '../../src/registry/processes.js';
import {readReservations} from '../../src/registry/reservations.js';
import {tempHome} from './support.js';

interface Row {
  readonly port: number;
  readonly fleet?: string;
  readonly isForeign?: boolean;
}

const aiId = fc.constantFrom('a-ai', 'b-ai', 'c-ai', 'd-ai', '__proto__');
const port = fc.integer({min: 1, max: 5});
const writer = fc.nat(2);
const command = fc.oneof(
  fc.record({type: fc.constant('register' as const), writer, aiId, port}),
  fc.record({type: fc.constant('deregister' as const), writer, aiId}),
  fc.record({
    type: fc.constant('sync' as const),
    writer,
    rows: fc.uniqueArray(fc.record({aiId, port}), {maxLength: 3, selector: row => row.aiId}),
  }),
  fc.record({type: fc.constant('foreign edit' as const), aiId, port}),
  fc.record({type: fc.constant('stray brace' as const)}),
);

test('the registry agrees with a plain map through any history of writers, foreign edits and damage', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, {maxLength: 10}), async commands => {
      const home = tempHome();
      const clients = [0, 1, 2].map(() => new RegistryClient({home, onWarning: () => undefined}));
      const {registry} = statePaths(home);
      let model = new Map<string, Row>();
      for (const step of commands) {
        const client = clients['writer' in step ? step.writer : 0] as RegistryClient; // there are three
        switch (step.type) {
          case 'register': {
            const holder = [...model].find(([id, row]) => row.port === step.port && id !== step.aiId);
            const registering = client.register({aiId: step.aiId, port: step.port, component: 'x'});
            if (holder === undefined) {
              await registering;
              model.set(step.aiId, {port: step.port});
            } else await expect(registering).rejects.toThrow(PortRegisteredError);
            break;
          }
          case 'deregister':
            expect(await client.deregister(step.aiId)).toBe(model.delete(step.aiId));
            break;
          case 'sync':
            await client.sync(
              ['default/f'],
              step.rows.map(row => ({...row, component: 'x', metadata: {fleet: 'default/f'}})),
            );
            model = synced(model, step.rows);
            break;
          case 'foreign edit':
            if (!existsSync(registry)) break;
            foreignEdit(registry, step.aiId, step.port);
            model.set(step.aiId, {port: step.port, isForeign: true});
            break;
          case 'stray brace':
            if (existsSync(registry)) writeFileSync(registry, `${readFileSync(registry, 'utf8').trimEnd()}}`);
        }
        for (const reader of clients) {
          const found = (await reader.list()).map(entry => [entry.aiId, entry.port]).toSorted();
          expect(found).toEqual([...model].map(([id, row]) => [id, row.port]).toSorted());
        }
      }
      rmSync(home, {recursive: true, force: true});
    }),
    {numRuns: 60},
  );
}, 60_000);

/** Rows of the fleet go, others stay unless one that comes has their port; of two that come with one port the last stays. */
function synced(before: ReadonlyMap<string, Row>, rows: readonly {aiId: string; port: number}[]): Map<string, Row> {
  const next = new Map([...before].filter(([, row]) => row.fleet === undefined));
  for (const [id, row] of before) {
    if (row.fleet !== undefined && rows.some(({aiId: coming}) => coming === id)) next.set(id, row);
  }
  const coming = new Set(rows.map(row => row.aiId));
  for (const {port: wanted} of rows) {
    for (const [id, row] of next) if (row.port === wanted && !coming.has(id)) next.delete(id);
  }
  for (const [index, row] of rows.entries()) {
    const isLast = !rows.slice(index + 1).some(later => later.port === row.port);
    if (isLast) next.set(row.aiId, {port: row.port, fleet: 'default/f'});
    else next.delete(row.aiId);
  }
  return next;
}

/** As the predecessor does it: the whole file anew, in its own layout, in place. */
function foreignEdit(path: string, id: string, wanted: number): void {
  let text = readFileSync(path, 'utf8').trimEnd();
  while (!isJson(text)) text = text.slice(0, -1); // without stray braces
  const value = JSON.parse(text) as object;
  Object.defineProperty(value, id, {value: {port: wanted, component: 'y'}, enumerable: true, configurable: true});
  writeFileSync(path, JSON.stringify(value, null, 2));
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const portCommand = fc.oneof(
  fc.record({type: fc.constant('allocate' as const), aiId: fc.constantFrom('a', 'b', 'c', 'd'), isDead: fc.boolean()}),
  fc.record({type: fc.constant('release' as const), index: fc.nat(5)}),
  fc.record({type: fc.constant('expire' as const), index: fc.nat(5)}),
);

test('reserved ports agree with a plain table: one for each launch, none for the dead, the expired and the released', async () => {
  const self = await identify(process.pid);
  await fc.assert(
    fc.asyncProperty(fc.array(portCommand, {maxLength: 8}), async commands => {
      const home = tempHome();
      await new RegistryClient({home}).register({aiId: 'x-ai', port: 100, component: 'x'});
      const allocator = new PortAllocator({home, registry: async () => new Map(), probe: async () => 'free'});
      let table: {aiId: string; uid: string; port: number}[] = [];
      for (const [n, step] of commands.entries()) {
        if (step.type === 'allocate') {
          // The same process that asks for the same specialist again gives the former port up.
          table = table.filter(row => row.aiId !== step.aiId);
          const lowest = [1, 2, 3, 4, 5].find(p => !table.some(row => row.port === p));
          const uid = `u${n}`;
          const [result] = await allocator.allocate([{aiId: step.aiId, uid}], {range: {from: 1, to: 5}});
          expect(result).toEqual({ok: true, port: lowest});
          if (step.isDead) rewrite(home, uid, {owner: {...self, startTime: 'another'}});
          else table.push({aiId: step.aiId, uid, port: lowest ?? 0});
        } else {
          const row = table[step.index];
          if (row === undefined) continue;
          table = table.filter(other => other !== row);
          if (step.type === 'release') await allocator.release([row.uid]);
          else rewrite(home, row.uid, {expiresAt: 1});
        }
      }
      rmSync(home, {recursive: true, force: true});
    }),
    {numRuns: 60},
  );
}, 60_000);

function rewrite(home: string, uid: string, facts: object): void {
  const reservations = readReservations(home).map(row => (row.uid === uid ? {...row, ...facts} : row));
  writeFileSync(statePaths(home).ports, JSON.stringify({formatVersion: 1, reservations}));
}
