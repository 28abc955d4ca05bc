/** Jobs of a CI server on one host: each in a state folder of its own, some where nothing can be written. */
import {spawnSync} from 'node:child_process';
import {mkdir} from 'node:fs/promises';
import {join} from 'node:path';
import {expect, test} from '@jest/globals';
import {program, sandboxes, type Sandbox} from './harness.js';

/** All at the same address, as jobs on one host are. */
const sandbox = sandboxes({host: '127.0.0.1', size: 24});

const names = Array.from({length: 6}, (_, i) => `c${i}`);

test('parallel jobs with a state folder each share a range of ports, and never a port', async () => {
  const first = await sandbox();
  const jobs = [first, await sandbox(), await sandbox()];
  for (const job of jobs) await job.declare({ports: first.ports, specialists: names});
  await Promise.all(jobs.map(job => job.ok(['apply', '--wait', '--timeout', '60s'])));
  const ports = jobs.flatMap(job => Object.values(job.registry()).map(entry => entry.port));
  expect(new Set(ports).size).toBe(jobs.length * names.length);
  for (const job of jobs) {
    const items = await job.items();
    expect(items.map(({status}) => [status.phase, status.restarts])).toEqual(names.map(() => ['Ready', 0]));
  }
}, 120_000);

const canMount = spawnSync('unshare', ['-rm', 'true']).status === 0;
if (!canMount) process.stderr.write('a read-only home is not tried: this system lets nobody mount\n');

(canMount ? test : test.skip)('a read-only home is one clear error before anything is planned', async () => {
  const job: Sandbox = await sandbox();
  await job.declare({specialists: names});
  const place = join(job.folder, 'ro');
  await mkdir(place);
  const script = 'mount -t tmpfs -o ro tmpfs "$1" && shift && exec "$@"';
  const {status, stdout, stderr} = spawnSync(
    'unshare',
    ['-rm', 'sh', '-c', script, 'sh', place, process.execPath, program, '--home', join(place, 'deep/state'), 'apply'],
    {cwd: job.work, env: job.environment, encoding: 'utf8'},
  );
  expect({status, stdout, stderr}).toEqual({
    status: 1,
    stdout: '',
    stderr: [
      `error: cannot use the state folder ${place}/deep/state: the file system is read-only`,
      'hint: Set TEKTON_AI_HOME to a folder that can be written to.\n',
    ].join('\n'),
  });
});
