/** What the verbs say and do while a sync window is closed. */
import {mkdirSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {afterEach, beforeEach, describe, expect, it} from '@jest/globals';
import type {FleetRecord, SyncWindow} from '../../src/api/types.js';
import {readFleetRecord} from '../../src/registry/fleet-records.js';
import {cli} from './host.js';
import {makeState, type State} from './state.js';

const key = {namespace: 'default', name: 'dev'};

/** Closed for as long as these tests can run, and open again at the turn of a year that is far away. */
function closed(manual: boolean): SyncWindow {
  return {kind: 'allow', schedule: '0 0 29 2 *', durationSeconds: 60, timeZone: 'UTC', manual};
}

let state: State;
let folder: string;

beforeEach(async () => {
  state = await makeState();
  folder = path.join(state.home, 'work');
  mkdirSync(folder);
});

afterEach(() => state.remove());

function declare(windows: readonly SyncWindow[], enabled = true): void {
  const document = {
    apiVersion: 'tekton.ai/v1alpha1',
    kind: 'Fleet',
    metadata: {name: 'dev'},
    // Nothing of it is to run: these tests are about what is recorded.
    spec: {
      syncWindows: windows,
      allowMassPrune: !enabled,
      specialists: [{component: 'athena', provider: 'offline', enabled: false}],
    },
  };
  writeFileSync(path.join(folder, 'tekton-ai.yaml'), JSON.stringify(document));
}

const at = (...argv: string[]) => cli(argv, {home: state.home, cwd: folder});

function record(): FleetRecord {
  const found = readFleetRecord(state.home, key);
  if (!found) throw new Error('there is no record');
  return found;
}

const opens = /the sync window opens at \d{4}-02-29T00:00:00Z/;

describe('while a window is closed that people may pass', () => {
  beforeEach(async () => {
    declare([closed(true)]);
    expect((await at('apply')).code).toBe(0);
    declare([closed(true)], false);
  });

  it('diff says that a controller would wait', async () => {
    const {err} = await at('diff');
    expect(err).toMatch(opens);
    expect(err).toContain(': the controller takes a change over then; an apply by hand does not wait\n');
  });

  it('apply is a word of a person, and says what it passes', async () => {
    const {code, err} = await at('apply');
    expect([code, record().allowMassPrune]).toEqual([0, true]);
    expect(err).toMatch(opens);
    expect((await at('apply')).err).not.toMatch(opens);
  });
});

describe('while a window is closed that keeps people out, too', () => {
  beforeEach(async () => {
    declare([closed(false)]);
    expect((await at('apply')).code).toBe(0);
    declare([], false);
  });

  it('apply is refused with 5, even one that takes the window away', async () => {
    const {code, err} = await at('apply');
    expect([code, record().allowMassPrune]).toEqual([5, false]);
    expect(err).toMatch(
      /error: cannot apply fleet default\/dev now: the sync window opens at .*; nothing was changed\n/,
    );
    expect(err).toContain('hint: wait until then, or apply all the same with --ignore-windows\n');
  });

  it('apply --ignore-windows is not', async () => {
    const {code, err} = await at('apply', '--ignore-windows');
    expect([code, record().allowMassPrune, record().syncWindows]).toEqual([0, true, undefined]);
    expect(err).not.toMatch(opens);
  });

  it('apply of what is in force already is not', async () => {
    declare([closed(false)]);
    expect((await at('apply')).code).toBe(0);
  });

  it('up is refused with 5 before a controller is started', async () => {
    const {code} = await at('up');
    expect(code).toBe(5);
    expect((await at('get')).err).toContain('no controller is running');
  });
});

it('apply refuses a fleet that would close a circle with one that is recorded, and writes nothing', async () => {
  const declareWaiting = (name: string, other: string) =>
    writeFileSync(
      path.join(folder, `${name}.yaml`),
      JSON.stringify({
        ...{apiVersion: 'tekton.ai/v1alpha1', kind: 'Fleet', metadata: {name}},
        spec: {dependsOn: [other], specialists: [{component: name, provider: 'offline', enabled: false}]},
      }),
    );
  declareWaiting('athena', 'hermes');
  declareWaiting('hermes', 'athena');
  expect((await at('apply', '-f', 'athena.yaml')).code).toBe(0);
  const {code, err} = await at('apply', '-f', 'hermes.yaml');
  expect(code).toBe(5);
  expect(err).toContain(
    'error: cannot apply fleet default/hermes: `dependsOn` goes round in a circle: ' +
      'default/hermes → default/athena → default/hermes; nothing was changed\n',
  );
  expect(readFleetRecord(state.home, {namespace: 'default', name: 'hermes'})).toBeUndefined();
});
