/** The fleet file is edited while everything runs, well and badly. */
import {rm} from 'node:fs/promises';
import {expect, it} from '@jest/globals';
import type {SpecialistEntry} from '../../src/api/documents.js';
import {conditionText, isAlive, isReady, sandboxes, until, type Sandbox} from './harness.js';

const sandbox = sandboxes();

async function started(specialists: readonly (string | SpecialistEntry)[]): Promise<Sandbox> {
  const box = await sandbox();
  await box.declare({specialists});
  await box.ok(['up']);
  return box;
}

/** What `get` says about the source of the fleet, on standard error. */
async function notices(box: Sandbox): Promise<string> {
  return (await box.ok(['get'])).stderr;
}

it('takes over a changed model and parameter without a restart', async () => {
  const box = await started(['hermes', 'athena']);
  const pids = await box.pids();
  await box.declare({specialists: ['hermes', {component: 'athena', model: 'wise', parameters: {temperature: 0.2}}]});
  const athena = await box.untilItem('athena', item => item.status.model?.model === 'wise' && isReady(item));
  expect(athena.metadata.generation).toBe(2);
  expect(athena.status).toMatchObject({observedGeneration: 2, restarts: 0});
  expect(await box.pids()).toEqual(pids);
  const {message} = await box.untilEvent('Reconfigured', 'athena-ai');
  expect(message).toContain('parameters.temperature');
  expect((await box.ok(['diff'])).stdout).toBe('No changes. 2 specialists are as declared.\n');
  const hermes = await box.item('hermes');
  expect(hermes.metadata.generation).toBe(1);
});

it('restarts on the same port for what a process cannot change while it lives', async () => {
  const box = await started(['hermes', 'athena']);
  const before = await box.item('athena');
  const pids = await box.pids();
  await box.declare({specialists: ['hermes', {component: 'athena', env: {LANTERN: 'lit'}}]});
  const diff = await box.untilItem('athena', item => item.status.observedGeneration === 2 && isReady(item));
  expect(diff.status.instance?.identity.pid).not.toBe(pids['athena']);
  expect(diff.status.port).toBe(before.status.port);
  expect(diff.status.restarts).toBe(0);
  await until('the old process to end', () => !isAlive(pids['athena'] ?? 0));
  expect(await box.pidOf('hermes')).toBe(pids['hermes']);
  expect(Object.keys(box.registry()).sort()).toEqual(['athena-ai', 'hermes-ai']);
  await until('the registry to name the new process', () => {
    return box.registry()['athena-ai']?.metadata.pid === diff.status.instance?.identity.pid;
  });
});

it('starts what is added, and stops and forgets what is removed', async () => {
  const box = await started(['hermes', 'athena']);
  const pids = await box.pids();
  await box.declare({specialists: ['hermes', 'athena', 'numa']});
  await until('numa to appear', async () => (await box.items()).some(item => item.metadata.name === 'numa'));
  await box.untilItem('numa', isReady);

  await box.declare({specialists: ['athena', 'numa']});
  await until('hermes to go', async () => (await box.items()).every(item => item.metadata.name !== 'hermes'));
  await until('its process to end', () => !isAlive(pids['hermes'] ?? 0));
  await until('its entry to go', () => box.registry()['hermes-ai'] === undefined);
  await box.untilEvent('Pruned', 'hermes-ai');
  expect(await box.pidOf('athena')).toBe(pids['athena']);
});

it('stops and starts by enabled, and keeps the declaration', async () => {
  const box = await started(['hermes', 'athena']);
  await box.declare({specialists: ['hermes', {component: 'athena', enabled: false}]});
  const off = await box.untilItem('athena', item => item.status.phase === 'Disabled' && !item.status.instance);
  expect(conditionText(off, 'Ready')).toContain('Disabled');
  await box.declare({specialists: ['hermes', 'athena']});
  await box.untilItem('athena', isReady);
});

it('keeps the last good spec after a typo, says where it is, and recovers', async () => {
  const box = await started(['hermes', 'athena']);
  const pids = await box.pids();
  await box.declare({specialists: ['hermes', {component: 'athena', modle: 'wise'} as SpecialistEntry]});
  const said = await until('the error to show', async () => {
    const stderr = await notices(box);
    return stderr.includes('SourceInvalid') && stderr;
  });
  expect(said).toMatch(/fleet dev: SourceInvalid: \S*tekton-ai\.yaml:\d+:\d+: unknown field `modle`/);
  expect(await box.pids()).toEqual(pids);
  expect((await box.items()).every(isReady)).toBe(true);

  await box.declare({specialists: ['hermes', {component: 'athena', model: 'wise'}]});
  await box.untilItem('athena', item => item.status.model?.model === 'wise' && isReady(item));
  await until('the error to go', async () => (await notices(box)) === '');
  expect(await box.pids()).toEqual(pids);
  await box.untilEvent('SourceRecovered');
});

it('stops nothing when the fleet file is deleted', async () => {
  const box = await started(['hermes', 'athena']);
  const pids = await box.pids();
  await rm(`${box.work}/tekton-ai.yaml`);
  const said = await until('the error to show', async () => {
    const stderr = await notices(box);
    return stderr.includes('SourceUnavailable') && stderr;
  });
  expect(said).toMatch(/fleet dev: SourceUnavailable: .*tekton-ai\.yaml/);
  expect(await box.pids()).toEqual(pids);
  expect((await box.items()).every(isReady)).toBe(true);
  await box.declare({specialists: ['hermes', 'athena', 'numa']});
  await box.untilEvent('BecameReady', 'numa-ai');
});

it('prunes nothing for a file that is half written, though that half is valid', async () => {
  const box = await started(['hermes', 'athena', 'numa']);
  const pids = await box.pids();
  await box.declare({specialists: ['hermes']});
  // The rest comes while the watcher waits for its second reading, a second after the first.
  await box.items();
  await box.declare({specialists: ['hermes', 'athena', 'numa', 'engram']});
  await box.untilEvent('BecameReady', 'engram-ai');
  const {engram: _, ...rest} = await box.pids();
  expect(rest).toEqual(pids);
  expect((await box.events()).filter(event => event.reason === 'Pruned')).toEqual([]);
});

it('holds an edit that would remove most of the fleet until it is confirmed', async () => {
  const all = ['hermes', 'athena', 'numa', 'engram', 'apollo'];
  const box = await started(all);
  const pids = await box.pids();
  await box.declare({specialists: ['hermes', {component: 'athena', model: 'wise'}]});
  const held = await until('the edit to be held', async () => {
    const stderr = await notices(box);
    return stderr.includes('MassPruneHeld') && stderr;
  });
  expect(held).toContain('3 of 5');
  expect(await box.pids()).toEqual(pids);
  expect((await box.item('athena')).status.model?.model).toBe('expertise');

  await box.ok(['apply', '--yes']);
  expect(Object.keys(await box.pids()).sort()).toEqual(['athena', 'hermes']);
  expect((await box.item('athena')).status.model?.model).toBe('wise');
});
