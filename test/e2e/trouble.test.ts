/** The machine is in the way, or the person mistyped: clear words, the right exit code, no stack trace. */
import {spawnSync} from 'node:child_process';
import {readFile, rm, writeFile} from 'node:fs/promises';
import {createServer, type Server} from 'node:net';
import {join} from 'node:path';
import {afterEach, describe, expect, it, test} from '@jest/globals';
import {conditionText, isReady, kill, program, sandboxes, type Sandbox} from './harness.js';

const sandbox = sandboxes({size: 2});

const listeners: Server[] = [];
afterEach(async () => {
  await Promise.all(listeners.splice(0).map(server => new Promise(resolve => server.close(resolve))));
});

async function occupy({host}: Sandbox, port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host, resolve));
  listeners.push(server);
  return server;
}

describe('the state folder', () => {
  it('is refused where a file is in its place, by every verb and in plain words', async () => {
    const box = await sandbox();
    await writeFile(box.home, 'not a folder');
    await box.declare({specialists: ['athena']});
    for (const args of [['up'], ['apply'], ['get'], ['diff'], ['status'], ['events'], ['down']]) {
      const {exitCode, stderr} = await box.run(args);
      // diff's 1 is an answer.
      expect({args, exitCode}).toEqual({args, exitCode: args[0] === 'diff' ? 2 : 1});
      expect(stderr).toContain(box.home);
      expect(stderr).not.toMatch(/internal error|^ +at /m);
    }
  });

  it('lets no controller hang that cannot read a fleet of it', async () => {
    const box = await sandbox();
    await box.declare({specialists: ['athena']});
    await box.ok(['apply', '--wait']);
    const damaged = join(box.home, 'fleets', 'default.other.json');
    await writeFile(damaged, '{');
    const {exitCode, stderr} = await box.run(['up']);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`cannot read ${damaged}: it is damaged`);
    expect(await box.processes()).toHaveLength(1);
    await rm(damaged);
  });

  it('is refused where a newer version has written a record, and nothing is rewritten', async () => {
    const box = await sandbox();
    await box.declare({specialists: ['athena']});
    await box.ok(['apply', '--wait']);
    await box.ok(['down']);
    const file = join(box.home, 'fleets/default.dev.json');
    const newer = JSON.stringify({formatVersion: 99, name: 'dev', namespace: 'default'});
    await writeFile(file, newer);
    const {exitCode, stderr} = await box.run(['apply']);
    expect(exitCode).toBe(5);
    expect(stderr).toMatch(/cannot use .*default\.dev\.json: a newer tekton-ai wrote it .*\nhint: Upgrade tekton-ai/);
    expect(await readFile(file, 'utf8')).toBe(newer);
  });

  it('is made for its owner alone', async () => {
    const box = await sandbox();
    await box.declare({specialists: ['athena']});
    await box.ok(['apply', '--wait']);
    const modes = spawnSync('find', [box.home, '-not', '-path', '*/bin/*', '-perm', '/077'], {encoding: 'utf8'});
    expect(modes.stdout).toBe('');
  });
});

describe('a range of ports in use', () => {
  it('stalls with PortsExhausted, names a holder, and goes on when a port is free', async () => {
    const box = await sandbox();
    const [first] = [await occupy(box, box.ports.from), await occupy(box, box.ports.to)];
    await box.declare({specialists: ['athena']});
    const up = await box.run(['up']);
    expect(up.exitCode).toBe(3);
    expect(up.stderr).toMatch(/athena: PortsExhausted: no free port in \d{5}–\d{5}: held by .*\(pid \d+\)/);
    expect(up.stderr).toContain(`pid ${process.pid}`);
    const athena = await box.item('athena');
    expect(athena.status.phase).toBe('Stalled');
    expect(conditionText(athena, 'Stalled')).toMatch(/^True PortsExhausted /);

    await new Promise(resolve => first.close(resolve));
    await box.ok(['up']);
    expect((await box.item('athena')).status.port).toBe(box.ports.from);
  });

  it('moves a specialist whose port was taken while it was down', async () => {
    const box = await sandbox();
    await box.declare({specialists: ['athena']});
    await box.ok(['up']);
    const {port} = (await box.item('athena')).status;
    await box.ok(['down']);
    await occupy(box, port ?? 0);
    await box.ok(['up']);
    const moved = await box.item('athena');
    expect(isReady(moved)).toBe(true);
    expect(moved.status.port).not.toBe(port);
    expect(box.registry()['athena-ai']?.port).toBe(moved.status.port);
    await box.untilEvent('PortMoved', 'athena-ai');
  });

  it('says that a pinned port is taken', async () => {
    const box = await sandbox();
    await occupy(box, box.ports.from);
    await box.declare({specialists: [{component: 'athena', port: box.ports.from}]});
    const apply = await box.run(['apply', '--wait', '--timeout', '10s']);
    expect(apply.exitCode).toBe(3);
    expect(apply.stderr).toMatch(/athena: PortTaken: .*\d{5}/);
  });
});

describe('the command line', () => {
  test.each([
    ['a mistyped verb', ['aply'], /unknown (verb|command) .aply.*did you mean/is],
    ['a mistyped option', ['get', '--outptu', 'json'], /unknown option .--outptu.*did you mean --output/is],
    ['a format that is none', ['get', '-o', 'xml'], /xml.*table, wide, json, yaml, name/is],
    ['a duration that is none', ['apply', '--timeout', 'soon'], /soon/],
    ['a missing name', ['describe'], /name/],
  ])('ends with 4 at %s, and says what was meant', async (_what, args, said) => {
    const box = await sandbox();
    const {exitCode, stdout, stderr} = await box.run(args);
    expect(exitCode).toBe(4);
    expect(stdout).toBe('');
    expect(stderr).toMatch(said);
  });

  it('is quiet when nobody reads on', async () => {
    const box = await sandbox();
    const script = `"${process.execPath}" "${program}" help | head -n 1; echo "\${PIPESTATUS[0]}"`;
    const {stdout, stderr} = spawnSync('bash', ['-c', script], {env: box.environment, encoding: 'utf8'});
    expect(stdout).toMatch(/^Usage: tekton-ai .*\n0\n$/);
    expect(stderr).toBe('');
  });

  it('prints no colours into a pipe, nor where NO_COLOR asks for none', async () => {
    const box = await sandbox();
    await box.declare({specialists: ['athena']});
    for (const [args, env] of [
      [['diff'], {}],
      [['diff'], {NO_COLOR: '1', FORCE_COLOR: '1'}],
      [['diff', '--no-color'], {FORCE_COLOR: '1'}],
    ] as const) {
      const {stdout} = await box.run(args, {env});
      expect(stdout).toContain('+ create athena');
      expect(stdout).not.toContain('\u001b');
    }
  });

  it('prints its version and its help without a state folder', async () => {
    const box = await sandbox();
    expect((await box.ok(['version'])).stdout).toMatch(/^(tekton-ai )?\d+\.\d+\.\d+/);
    expect((await box.ok(['help', 'apply'])).stdout).toContain('--detailed-exitcode');
    expect((await box.ok(['apply', '--help'])).stdout).toContain('--dry-run');
  });
});

it('does not touch a process that has the pid of a worker that is gone', async () => {
  const box = await sandbox();
  await box.declare({specialists: ['athena']});
  await box.ok(['apply', '--wait']);
  const pid = await box.pidOf('athena');
  kill(pid, 'SIGKILL');
  const file = join(box.home, 'run/athena-ai.json');
  const record = JSON.parse(await readFile(file, 'utf8')) as {identity: object};
  // As if the kernel had given the number to this very process.
  await writeFile(file, JSON.stringify({...record, identity: {...record.identity, pid: process.pid}}));
  await box.ok(['up']);
  const athena = await box.item('athena');
  expect(isReady(athena)).toBe(true);
  expect(athena.status.instance?.identity.pid).not.toBe(process.pid);
  await box.ok(['down']);
});
