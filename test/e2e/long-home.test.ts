/** Control sockets are their owner's alone, also where the state folder's path is too long for a Unix socket. */
import {lstatSync, readFileSync, readdirSync, statSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {describe, expect, it} from '@jest/globals';
import {kill, sandboxes} from './harness.js';
import type {Sandbox} from './harness.js';

const usual = sandboxes();
const long = sandboxes({home: join('long'.repeat(30), 'ä'.repeat(20))});

describe.each([
  ['usual', usual, (box: Sandbox) => join(box.home, 'run')],
  ['long', long, () => join('/tmp', `tekton-ai-${process.getuid?.() ?? 0}`)],
])('with a %s path', (_what, sandbox, folderOf) => {
  it('they are private, and a new controller adopts the workers behind them', async () => {
    const box = await sandbox();
    await box.declare({specialists: ['athena', 'hermes']});
    await box.ok(['up']);
    const pids = await box.pids();

    for (const name of ['athena-ai', 'hermes-ai', 'controller']) {
      const path = socketOf(box, name);
      expect(dirname(path)).toBe(folderOf(box));
      expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
      expect(lstatSync(path).isSocket()).toBe(true);
      expect(lstatSync(path).mode & 0o777).toBe(0o600);
    }

    kill(box.controllerPid(), 'SIGKILL');
    await box.ok(['up']);
    expect(await box.pids()).toEqual(pids);
    expect((await box.ok(['chat', 'athena', 'Who are you?'])).stdout).toContain('Athena');
    const sockets = ['athena-ai', 'hermes-ai', 'controller'].map(name => socketOf(box, name));
    await box.ok(['down']);
    expect(sockets.filter(path => lstatSync(path, {throwIfNoEntry: false}))).toEqual([]);
    expect(readdirSync(join(box.home, 'run')).filter(name => name.endsWith('.sock'))).toEqual([]);
  });
});

/** Where it listens, as its record says. */
function socketOf(box: Sandbox, name: string): string {
  const text = readFileSync(join(box.home, 'run', `${name}.json`), 'utf8');
  const record = JSON.parse(text) as {readonly controlPath?: string; readonly socketPath?: string}; // our own records
  return record.controlPath ?? record.socketPath ?? '';
}
