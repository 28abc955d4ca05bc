/** Environments for a while: they end by themselves, or with one word. */
import {expect, test} from '@jest/globals';
import {gitTest, TestRepository} from '../fakes/git.js';
import {isAlive, isReady, kill, sandboxes, until} from './harness.js';

const sandbox = sandboxes();

test('an environment with a time to live ends by itself, controller and all', async () => {
  const own = await sandbox();
  await own.declare({specialists: ['athena', 'hermes']});
  await own.ok(['up', '--ttl', '2500ms']);
  const {expiresAt = ''} = own.record();
  await own.untilEvent('Expired');
  await until('all processes to end', async () => (await own.processes()).length === 0);
  expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiresAt));
  expect((await own.items()).map(({status}) => status.phase)).toEqual(['Stopped', 'Stopped']);
});

test('what begins anew after its time lives on', async () => {
  const own = await sandbox();
  await own.declare({specialists: ['athena']});
  await own.ok(['up', '--ttl', '1s']);
  await until('all processes to end', async () => (await own.processes()).length === 0);
  await own.ok(['up']);
  expect(own.record().expiresAt).toBeUndefined();
  expect((await own.item('athena')).status.phase).toBe('Ready');
});

test('more time can be given, a save takes none away, and 0 is for ever', async () => {
  const own = await sandbox();
  await own.declare({specialists: ['athena']});
  await own.ok(['up', '--ttl', '1h']);
  const first = own.record().expiresAt ?? '';
  expect((await own.run(['get'])).stderr).toContain(`fleet dev stops itself at ${first}`);
  await own.ok(['up', '--ttl', '2h']);
  const second = own.record().expiresAt ?? '';
  expect(Date.parse(second) - Date.parse(first)).toBeGreaterThan(3_500_000);
  await own.declare({specialists: [{component: 'athena', parameters: {temperature: 0.1}}]});
  await own.untilEvent('Reconfigured', 'athena-ai');
  expect(own.record().expiresAt).toBe(second);
  await own.ok(['up']);
  expect(own.record().expiresAt).toBe(second);
  await own.ok(['up', '--ttl', '0']);
  expect(own.record().expiresAt).toBeUndefined();
});

test('a time that was over while no controller ran is over for the next one', async () => {
  const own = await sandbox();
  await own.declare({specialists: ['athena']});
  await own.ok(['up', '--ttl', '3s']);
  kill(own.controllerPid(), 'SIGKILL');
  const {expiresAt = ''} = own.record();
  await until('the time to be over', () => Date.now() > Date.parse(expiresAt));
  expect(await own.processes()).not.toEqual([]);
  const next = own.start(['controller']);
  await own.untilEvent('Expired');
  expect((await next.subprocess).exitCode).toBe(0);
  expect(await own.processes()).toEqual([]);
});

test('down --all ends every fleet, and a controller that answers nobody', async () => {
  const own = await sandbox();
  await own.declare({name: 'one', specialists: ['athena']}, 'one.yaml');
  await own.declare({name: 'two', specialists: ['hermes']}, 'two.yaml');
  await own.ok(['up', '-f', 'one.yaml', '-f', 'two.yaml']);
  const pid = own.controllerPid();
  kill(pid, 'SIGSTOP');
  const {stdout} = await own.ok(['down', '--all']);
  expect(stdout).toBe('the controller has ended\nfleet one is stopped\nfleet two is stopped\n');
  expect(isAlive(pid)).toBe(false);
  expect(await own.processes()).toEqual([]);
  expect((await own.run(['down', '--all', '--fleet', 'one'])).exitCode).toBe(4);
}, 60_000);

gitTest(
  'an environment that follows a branch ends with all that was pushed meanwhile, until it is applied again',
  async () => {
    const own = await sandbox();
    const repository = new TestRepository();
    try {
      const follow = ['up', '--git', repository.url, '--interval', '1s'];
      repository.push({'tekton-ai.yaml': own.document({name: 'one', specialists: ['athena']})});
      await own.ok([...follow, '--ttl', '1h']);
      const both = ['one', 'two'].map((name, i) => own.document({name, specialists: [i === 0 ? 'athena' : 'hermes']}));
      repository.push({'tekton-ai.yaml': both.join('\n---\n')});
      await own.untilGit('repo', ({fleets}) => fleets.length === 2);
      await own.untilItem('hermes', isReady);
      expect(own.record('two').expiresAt).toBe(own.record('one').expiresAt);
      await own.run([...follow, '--ttl', '2s']);
      await until('all processes to end', async () => (await own.processes()).length === 0);
      const ended = (await own.events()).filter(({reason}) => reason === 'Expired');
      expect(ended.map(({fleet, gitSource}) => fleet ?? gitSource).toSorted()).toEqual(['default/repo', 'one', 'two']);
      await own.ok(follow);
      expect((await own.item('hermes')).status.phase).toBe('Ready');
      expect((await own.ok(['down', '--all'])).stdout).toContain('git source repo is stopped');
      expect(await own.processes()).toEqual([]);
    } finally {
      repository.remove();
    }
  },
  90_000,
);
