import {writeFileSync} from 'node:fs';
import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {choosePorts} from '../../src/registry/choose-ports.js';
import type {Choice, Holdings, PortRequest} from '../../src/registry/choose-ports.js';
import {ensureStateHome} from '../../src/registry/home.js';
import {statePaths} from '../../src/registry/paths.js';
import {RegistryClient} from '../../src/registry/registry-client.js';
import {somePorts, tempHome} from './support.js';

const range = {from: 1, to: 8};
const port = fc.integer({min: 1, max: 8});
const request = fc.record(
  {
    aiId: fc.constantFrom('a', 'b', 'c', 'd'),
    uid: fc.uuid(),
    preferred: fc.integer({min: 0, max: 10}),
    pinned: fc.integer({min: 1, max: 10}),
    avoid: fc.array(port, {maxLength: 2}),
  },
  {requiredKeys: ['aiId', 'uid']},
);

/** The rules said plainly: whether `candidate` may go to the request, given what went to others. */
function allowed(candidate: number, wish: PortRequest, holdings: Holdings, taken: ReadonlySet<number>): boolean {
  const registrant = holdings.registered.get(candidate);
  const reservation = holdings.reserved.get(candidate);
  return (
    !taken.has(candidate) &&
    !(wish.avoid ?? []).includes(candidate) &&
    (registrant === undefined || registrant === wish.aiId) &&
    (reservation === undefined || reservation.uid === wish.uid)
  );
}

describe('choosePorts', () => {
  test('agrees with a simple model for any requests, holdings and strangers', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, {maxLength: 6}),
        fc.dictionary(port.map(String), fc.constantFrom('a', 'b', 'x')),
        fc.dictionary(port.map(String), fc.constantFrom('a', 'x')),
        fc.dictionary(port.map(String), fc.constantFrom('a', 'x')),
        fc.uniqueArray(fc.integer({min: 1, max: 10}), {maxLength: 4}),
        async (requests, registered, reserved, kept, strangers) => {
          const holdings: Holdings = {
            registered: new Map(Object.entries(registered).map(([p, aiId]) => [Number(p), aiId])),
            reserved: new Map(Object.entries(reserved).map(([p, aiId]) => [Number(p), {aiId, uid: `of ${aiId}`}])),
            kept: () => new Map(Object.entries(kept).map(([p, aiId]) => [Number(p), aiId])),
          };
          const choices = await choosePorts(requests, range, holdings, async p =>
            strangers.includes(p) ? 'taken' : 'free',
          );
          check(requests, choices, holdings, new Set(strangers));
        },
      ),
      {numRuns: 2_000},
    );
  });

  function check(
    requests: readonly PortRequest[],
    choices: readonly Choice[],
    holdings: Holdings,
    strangers: ReadonlySet<number>,
  ): void {
    const ports = choices.flatMap(choice => (choice.type === 'port' ? [choice.port] : []));
    expect(choices).toHaveLength(requests.length);
    expect(new Set(ports).size).toBe(ports.length);
    for (const [index, wish] of requests.entries()) {
      const choice = choices[index];
      const others = new Set([...ports.filter(p => choice?.type !== 'port' || p !== choice.port), ...strangers]);
      if (choice?.type === 'port') {
        expect(allowed(choice.port, wish, holdings, others)).toBe(true);
        if (wish.pinned !== undefined) expect(choice.port).toBe(wish.pinned);
        else expect(choice.port >= range.from && choice.port <= range.to).toBe(true);
      } else if (wish.pinned !== undefined) {
        expect(choice).toMatchObject({type: 'taken', port: wish.pinned});
        expect(allowed(wish.pinned, wish, holdings, others)).toBe(false);
      } else {
        // Nothing that is left over would have done.
        expect(choice?.type).toBe('exhausted');
        for (let p = range.from; p <= range.to; p++) expect(allowed(p, wish, holdings, others)).toBe(false);
      }
    }
  }

  const none: Holdings = {registered: new Map(), reserved: new Map(), kept: () => new Map()};
  const free = async (): Promise<'free'> => 'free';

  test('gives the lowest free port, and the preferred one where it can', async () => {
    const requests = [
      {aiId: 'a', uid: '1'},
      {aiId: 'b', uid: '2', preferred: 1},
      {aiId: 'c', uid: '3', pinned: 3},
      {aiId: 'd', uid: '4'},
      {aiId: 'e', uid: '5', preferred: 99},
    ];
    const choices = await choosePorts(requests, range, none, free);
    expect(choices.map(choice => choice.type === 'port' && choice.port)).toEqual([4, 1, 3, 5, 2]);
  });

  test('gives a port that somebody keeps to others only when nothing else is left', async () => {
    const small = {from: 1, to: 4};
    const kept: Holdings = {
      ...none,
      kept: () =>
        new Map([
          [1, 'a'],
          [2, 'b'],
          [3, 'c'],
        ]),
    };
    const wishes = [{aiId: 'a', uid: '1', preferred: 1}];
    const oneTaken = async (p: number): Promise<'free' | 'taken'> => (p === 1 ? 'taken' : 'free');
    expect(await choosePorts(wishes, small, kept, oneTaken)).toEqual([{type: 'port', port: 4}]);
    const lastTaken = async (p: number): Promise<'free' | 'taken'> => (p === 1 || p === 4 ? 'taken' : 'free');
    expect(await choosePorts(wishes, small, kept, lastTaken)).toEqual([{type: 'port', port: 2}]);
  });

  test('does not ask who keeps which port for one that gets the port that it had', async () => {
    const kept = (): never => {
      throw new Error('asked');
    };
    const wishes = [
      {aiId: 'a', uid: '1', preferred: 2},
      {aiId: 'b', uid: '2', pinned: 3},
    ];
    expect(await choosePorts(wishes, range, {...none, kept}, free)).toEqual([
      {type: 'port', port: 2},
      {type: 'port', port: 3},
    ]);
  });

  test('asks the kernel about five thousand ports once each', async () => {
    const requests = Array.from({length: 5_001}, (_, n) => ({aiId: `a${n}`, uid: `${n}`}));
    let probes = 0;
    const choices = await choosePorts(requests, {from: 45_000, to: 50_000}, none, async () => (probes++, 'free'));
    expect(choices.every((choice, n) => choice.type === 'port' && choice.port === 45_000 + n)).toBe(true);
    expect(probes).toBe(5_001);
  });

  test('does not walk the whole range on an address that can not be bound', async () => {
    const choices = await choosePorts([{aiId: 'a', uid: '1', host: '192.0.2.1'}], range, none, async () => 'denied');
    expect(choices).toEqual([{type: 'unusable', port: 1, host: '192.0.2.1'}]);
  });
});

test.each(['{"formatVersion":1,"reservations":{}}', '{"formatVersion":1,"reservations":[null,{"port":1}]}', 'garbage'])(
  'ports are handed out over a damaged record of reservations: %s',
  async text => {
    const home = tempHome();
    await ensureStateHome(home);
    writeFileSync(statePaths(home).ports, text, {mode: 0o600});
    const client = new RegistryClient({home, ports: somePorts(3)});
    const [result] = await client.allocatePorts([{aiId: 'a-ai', uid: 'u1'}]);
    expect(result).toMatchObject({ok: true});
  },
);
