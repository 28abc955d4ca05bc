import {expect, test} from '@jest/globals';
import {kill, sandboxes, until, type Sandbox} from './harness.js';

const sandbox = sandboxes();

/** The pids that athena has had. */
async function killAgainAndAgain(own: Sandbox, times: number): Promise<void> {
  const killed = new Set<number>();
  while (killed.size < times) {
    const pid = await until('another process of athena', async () => {
      const now = (await own.pids())['athena'];
      return now !== undefined && !killed.has(now) && now;
    });
    kill(pid, 'SIGKILL');
    killed.add(pid);
  }
}

test('an apply that is to stay Ready ends with 0 when it has', async () => {
  const own = await sandbox();
  await own.declare({specialists: ['athena']});
  const {stderr} = await own.ok(['apply', '--stable-for', '300ms']);
  expect(stderr).toContain('athena: Ready on port');
});

test('a crash while it is to stay Ready begins the time anew', async () => {
  const own = await sandbox();
  await own.declare({specialists: ['athena']});
  const {subprocess, output} = own.start(['up', '--stable-for', '3s']);
  await until('athena to be Ready', () => output.stderr.includes('athena: Ready'));
  await killAgainAndAgain(own, 1);
  expect((await subprocess).exitCode).toBe(0);
  expect((await own.item('athena')).status.restarts).toBe(1);
  const age = Date.now() - Date.parse((await own.item('athena')).status.instance?.startedAt ?? '');
  expect(age).toBeGreaterThanOrEqual(3000);
});

test('so many crashes end it with 1, and with the last words', async () => {
  const own = await sandbox();
  await own.declare({specialists: ['athena']});
  const {subprocess, output} = own.start(['up', '--stable-for', '15s', '--fail-after-crashes', '2']);
  await until('athena to be Ready', () => output.stderr.includes('athena: Ready'));
  await killAgainAndAgain(own, 2);
  expect((await subprocess).exitCode).toBe(1);
  expect(output.stderr).toContain('athena crashed 2 times, with signal SIGKILL');
});

test('a time that cannot fit is bad input', async () => {
  const own = await sandbox();
  await own.declare({specialists: ['athena']});
  const {exitCode, stderr} = await own.run(['apply', '--stable-for', '2m', '--timeout', '60s']);
  expect({exitCode, stderr}).toEqual({
    exitCode: 4,
    stderr: 'error: --stable-for of 120s does not fit into a --timeout of 60s\nhint: tekton-ai apply --help\n',
  });
});
