/** Changes that wait, with real files, processes and clocks. */
import {expect, it} from '@jest/globals';
import type {SyncWindow} from '../../src/api/types.js';
import {sandboxes, until} from './harness.js';

const sandbox = sandboxes();

/** Began a minute ago and lasts for so long from now. */
function closedFor(ms: number): SyncWindow {
  const began = new Date(Math.floor(Date.now() / 60_000 - 1) * 60_000);
  const schedule = `${began.getUTCMinutes()} ${began.getUTCHours()} * * *`;
  const durationSeconds = Math.ceil((Date.now() + ms - began.getTime()) / 1000);
  return {kind: 'deny', schedule, durationSeconds, timeZone: 'UTC', manual: true};
}

it('launches a fleet when the one that it depends on is Ready', async () => {
  const box = await sandbox();
  await box.declare({name: 'base', specialists: [{component: 'hermes', provider: 'ollama'}]}, 'base.yaml');
  await box.declare({name: 'above', dependsOn: ['base'], specialists: ['athena']}, 'above.yaml');
  const up = await box.run(['up', '-f', 'base.yaml', '-f', 'above.yaml', '--timeout', '3s']);
  expect(up.exitCode).toBe(3);
  expect(up.stderr).toContain('athena: DependencyNotReady: waits for fleet default/base: hermes is ');
  expect((await box.item('athena')).status.instance).toBeUndefined();
  // Declared so that it is Ready: what waits for it is launched.
  await box.declare({name: 'base', specialists: ['hermes']}, 'base.yaml');
  await box.untilItem('athena', item => item.status.phase === 'Ready');
}, 60_000);

it('has an edit wait while a sync window is closed, and takes it over when it opens', async () => {
  const box = await sandbox();
  const syncWindows = [closedFor(15_000)];
  await box.declare({syncWindows, specialists: ['athena', 'hermes']});
  await box.ok(['up']);
  await box.declare({syncWindows, specialists: [{component: 'athena', model: 'wise'}, 'hermes']});
  await until('the change to be held', async () => (await box.ok(['get'])).stderr.includes('SyncWindowClosed'));
  expect((await box.ok(['get'])).stderr).toMatch(
    /fleet dev: SyncWindowClosed: the sync window opens at .*Z; until then these wait: athena \(changed\)/,
  );
  expect((await box.run(['diff'])).stderr).toContain('the controller takes a change over then');
  expect((await box.item('athena')).metadata.generation).toBe(1);
  const athena = await box.untilItem('athena', item => item.status.model?.model === 'wise');
  expect(athena.metadata.generation).toBe(2);
  const reasons = (await box.events()).map(({reason}) => reason);
  expect(reasons.filter(reason => reason === 'ChangeHeld' || reason === 'SourceApplied')).toEqual([
    'ChangeHeld',
    'SourceApplied',
  ]);
  expect((await box.ok(['get'])).stderr).not.toContain('SyncWindowClosed');
}, 60_000);
