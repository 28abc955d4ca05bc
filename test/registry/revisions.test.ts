import {appendFileSync} from 'node:fs';
import {mkdtemp, rm} from 'node:fs/promises';
import {afterEach, beforeEach, expect, it} from '@jest/globals';
import type {Desired, FleetRecord} from '../../src/api/types.js';
import {nextRecord} from '../../src/reconciler/desired.js';
import {removeFleetRecord, updateFleet} from '../../src/registry/fleet-records.js';
import {ensureStateHome} from '../../src/registry/home.js';
import {statePaths} from '../../src/registry/paths.js';
import {readRevisions} from '../../src/registry/revisions.js';
import {desire, loaded} from '../fakes/ports.js';

const key = {namespace: 'default', name: 'dev'};
let home: string;

beforeEach(async () => {
  home = await mkdtemp('/tmp/tk-');
  await ensureStateHome(home);
});
afterEach(() => rm(home, {recursive: true, force: true}));

async function apply(...specialists: readonly Desired[]): Promise<FleetRecord> {
  const options = {confirmed: true, takeOver: true, prune: true, appliedAt: 'now', version: '1'};
  return updateFleet(home, key, previous => nextRecord(previous, loaded(specialists), options));
}

function generations(aiId: string): readonly number[] {
  return readRevisions(home, key).flatMap(revision => (revision.aiId === aiId ? [revision.generation] : []));
}

it('keeps what was declared of each, one entry a generation', async () => {
  await apply(desire('athena', {model: 'a'}), desire('hermes'));
  await apply(desire('athena', {model: 'b'}), desire('hermes'));
  await apply(desire('athena', {model: 'b'}), desire('hermes'));
  expect(generations('athena-ai')).toEqual([1, 2]);
  expect(generations('hermes-ai')).toEqual([1]);
  expect(readRevisions(home, key).map(revision => revision.desired.spec.model)).toContain('a');
});

it('knows the commit of each that a commit declared', async () => {
  const options = {confirmed: true, takeOver: true, prune: true, appliedAt: 'now', version: '1'};
  const from = (revision: string, model: string): Promise<FleetRecord> =>
    updateFleet(home, key, previous =>
      nextRecord(previous, {...loaded([desire('athena', {model}), desire('hermes')]), revision}, options),
    );
  await from('c1', 'a');
  await from('c2', 'b');
  expect(readRevisions(home, key).map(({aiId, revision}) => [aiId, revision])).toEqual([
    ['athena-ai', 'c1'],
    ['hermes-ai', 'c1'],
    ['athena-ai', 'c2'],
  ]);
});

it('keeps the last ten of each', async () => {
  for (let index = 1; index <= 13; index++) await apply(desire('athena', {model: `m${index}`}), desire('hermes'));
  expect(generations('athena-ai')).toEqual([4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
  expect(generations('hermes-ai')).toEqual([1]);
});

it('makes good what a crash or a damaged line has lost', async () => {
  await apply(desire('athena', {model: 'a'}));
  await rm(statePaths(home).fleetHistory(key));
  await apply(desire('athena', {model: 'b'}));
  expect(generations('athena-ai')).toEqual([1, 2]);
  appendFileSync(statePaths(home).fleetHistory(key), '{"aiId":"ath');
  expect(generations('athena-ai')).toEqual([1, 2]);
  await apply(desire('athena', {model: 'c'}));
  expect(generations('athena-ai')).toEqual([1, 2, 3]);
});

it('goes with the fleet', async () => {
  await apply(desire('athena'));
  await removeFleetRecord(home, key);
  expect(readRevisions(home, key)).toEqual([]);
});
