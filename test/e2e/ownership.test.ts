/** Who may change and stop what: sources, prunes, deletes, and the variables of the environment. */
import {expect, it} from '@jest/globals';
import {isAlive, isReady, sandboxes} from './harness.js';

const sandbox = sandboxes();
const five = ['hermes', 'athena', 'numa', 'engram', 'apollo'];

it('refuses a fleet of another source with 5 until it is taken over', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  await box.ok(['apply', '--wait']);
  const pid = await box.pidOf('athena');
  await box.declare({specialists: ['athena', 'hermes']}, 'other.yaml');
  const refused = await box.run(['apply', '-f', 'other.yaml']);
  expect(refused.exitCode).toBe(5);
  expect(refused.stderr).toContain(`it is declared by ${box.work}/tekton-ai.yaml`);
  expect(refused.stderr).toContain('--take-over');
  expect(Object.keys(await box.pids())).toEqual(['athena']);

  await box.ok(['apply', '--wait', '--take-over', '-f', 'other.yaml']);
  expect(Object.keys(await box.pids()).sort()).toEqual(['athena', 'hermes']);
  expect(await box.pidOf('athena')).toBe(pid);
  expect((await box.run(['apply'])).exitCode).toBe(5);
});

it('asks for a yes before it prunes more than half, and changes nothing without', async () => {
  const box = await sandbox();
  await box.declare({specialists: five});
  await box.ok(['apply', '--wait']);
  const pids = await box.pids();
  await box.declare({specialists: ['hermes', {component: 'athena', model: 'wise'}]});
  const refused = await box.run(['apply']);
  expect(refused.exitCode).toBe(5);
  expect(refused.stderr).toMatch(/would prune 3 of 5 specialists \(.*\); nothing was changed/);
  expect(refused.stderr).toContain('--yes');
  expect(await box.pids()).toEqual(pids);
  expect((await box.item('athena')).status.model?.model).toBe('expertise');

  await box.ok(['apply', '--yes']);
  expect(Object.keys(await box.pids()).sort()).toEqual(['athena', 'hermes']);
  expect(['numa', 'engram', 'apollo'].filter(name => isAlive(pids[name] ?? 0))).toEqual([]);
});

it('leaves with --no-prune what is no longer declared, until it is deleted by name', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['hermes', 'athena']});
  await box.ok(['up']);
  const pids = await box.pids();
  const declared = await box.run(['delete', 'athena']);
  expect(declared.exitCode).toBe(5);
  expect(declared.stderr).toMatch(/cannot delete athena: .*tekton-ai\.yaml declares it\nhint: remove it there/);

  await box.ok(['down']);
  await box.declare({specialists: ['hermes']});
  await box.ok(['apply', '--wait', '--no-prune']);
  expect(Object.keys(await box.pids()).sort()).toEqual(['athena', 'hermes']);
  expect(Object.values(pids).filter(isAlive)).toEqual([]);
  const athena = await box.pidOf('athena');
  const deleted = await box.ok(['delete', 'athena']);
  expect(deleted.stdout).toContain('specialist/athena deleted\n');
  expect(isAlive(athena)).toBe(false);
  expect((await box.items()).map(item => item.metadata.name)).toEqual(['hermes']);
  expect(Object.keys(box.registry())).toEqual(['hermes-ai']);
});

it('keeps fleets apart: a prune of one touches nothing of the other', async () => {
  const box = await sandbox();
  await box.declare({name: 'one', specialists: ['hermes', 'athena']}, 'one.yaml');
  await box.declare({name: 'two', specialists: ['numa', 'apollo']}, 'two.yaml');
  await box.ok(['apply', '--wait', '-f', 'one.yaml']);
  await box.ok(['apply', '--wait', '-f', 'two.yaml']);
  expect(Object.keys(await box.pids()).sort()).toEqual(['apollo', 'athena', 'hermes', 'numa']);
  const numa = await box.pidOf('numa');
  const stopped = await box.ok(['down', '--fleet', 'one']);
  expect(stopped.stdout).toContain('fleet one is stopped');
  expect(Object.keys(await box.pids()).sort()).toEqual(['apollo', 'numa']);
  expect(await box.pidOf('numa')).toBe(numa);

  // The same name in another fleet: its owner keeps it.
  await box.declare({name: 'two-more', specialists: ['numa', 'engram']}, 'more.yaml');
  const conflict = await box.run(['apply', '--wait', '-f', 'more.yaml']);
  expect(conflict.exitCode).toBe(3);
  expect(conflict.stdout).toMatch(/ ! blocked numa: Conflict: numa-ai (belongs to|runs for) fleet default\/two$/m);
  expect(conflict.stderr).toMatch(/^ {2}numa: Conflict: numa-ai runs for fleet default\/two$/m);
  expect(isAlive(numa)).toBe(true);
  expect(isReady(await box.item('engram'))).toBe(true);
});

it('runs nothing where TEKTON_REGISTER_AI says so, and says so', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  await box.ok(['apply', '--wait']);
  const off = await box.ok(['apply'], {env: {TEKTON_REGISTER_AI: 'false'}});
  expect(off.stderr).toContain('TEKTON_REGISTER_AI');
  expect(await box.pids()).toEqual({});
  expect((await box.item('athena')).status.phase).toBe('Disabled');
  expect(box.registry()).toEqual({});
  await box.ok(['apply', '--wait']);
  expect(isReady(await box.item('athena'))).toBe(true);
});

it('lets the environment choose provider and model, remembers it, and names it in diff', async () => {
  const box = await sandbox();
  const fleet = {providers: {play: {type: 'offline'}}, defaults: {provider: 'play'}} as const;
  await box.declare({...fleet, specialists: ['athena', 'hermes']});
  await box.ok(['up']);
  const env = {ATHENA_AI_MODEL: 'wise', TEKTON_AI_PROVIDER: 'offline'};
  const diff = await box.run(['diff'], {env});
  expect(diff.exitCode).toBe(1);
  expect(diff.stdout).toMatch(/^ {6}model: \(not set\) -> "wise" {2}\(ATHENA_AI_MODEL\)$/m);
  expect(diff.stdout).toMatch(/^ {6}provider: "play" -> "offline" {2}\(TEKTON_AI_PROVIDER\)$/m);
  await box.ok(['apply', '--wait'], {env});
  const models = async () => (await box.items()).map(({status}) => `${status.model?.provider}:${status.model?.model}`);
  expect(await models()).toEqual(['offline:wise', 'offline:expertise']);

  // An edit reaches the controller, whose own environment knows nothing of this.
  await box.declare({...fleet, specialists: ['athena', 'hermes', 'numa']});
  await box.untilEvent('BecameReady', 'numa-ai');
  expect(await models()).toEqual(['offline:wise', 'offline:expertise', 'offline:expertise']);
});

it('reads .env.tekton beside the fleet file, and the environment wins over it', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena', 'hermes', {component: 'tekton_core'}]});
  await box.write('.env.tekton', 'ATHENA_AI_MODEL=wise\nHERMES_AI_MODEL=swift\nTEKTON_CORE_AI_MODEL=firm\n');
  const env = {HERMES_AI_MODEL: 'winged'};
  const diff = await box.run(['diff'], {env});
  expect(diff.stdout).toMatch(/^ {6}model: "wise" {2}\(ATHENA_AI_MODEL in \.env\.tekton\)$/m);
  expect(diff.stdout).toMatch(/^ {6}model: "winged" {2}\(HERMES_AI_MODEL\)$/m);
  await box.ok(['apply', '--wait'], {env});
  const models = (await box.items()).map(({metadata, status}) => [metadata.name, status.model?.model]);
  expect(models).toEqual([
    ['athena', 'wise'],
    ['hermes', 'winged'],
    ['tekton-core', 'firm'],
  ]);
  expect(Object.keys(box.registry())).toContain('tekton_core-ai');
});
