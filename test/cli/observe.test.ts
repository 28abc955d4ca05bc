import {afterEach, beforeEach, describe, expect, it} from '@jest/globals';
import {writeFile} from 'node:fs/promises';
import {condition} from '../../src/api/conditions.js';
import type {SpecialistDocument} from '../../src/cli/print/documents.js';
import {statePaths} from '../../src/registry/paths.js';
import type {RunningWorker} from '../../src/worker/start.js';
import {cli} from './host.js';
import {readyStatus, sampleDesired, stoppedStatus} from './samples.js';
import {launchHere, makeState, pretendController, writeFleet, writeStatus, type State} from './state.js';

const athena = sampleDesired({name: 'athena'});
const noController = 'no controller is running: nothing is kept as declared; start one with: tekton-ai up\n';

let state: State;
let worker: RunningWorker | undefined;

beforeEach(async () => {
  state = await makeState();
});

afterEach(async () => {
  await worker?.close(0);
  worker = undefined;
  state.remove();
});

async function statusOf(name: string): Promise<SpecialistDocument['status']> {
  const {out} = await cli(['get', name, '-o', 'json'], {home: state.home});
  return (JSON.parse(out) as SpecialistDocument).status;
}

function readyOf(status: SpecialistDocument['status']): unknown {
  const ready = condition(status.conditions, 'Ready');
  return ready && [ready.status, ready.reason];
}

describe('without a controller', () => {
  it('never shows a stored Ready for a process that is gone', async () => {
    await writeFleet(state.home, [athena]);
    await writeStatus(state.home, athena, readyStatus);
    const status = await statusOf('athena');
    expect(readyOf(status)).toEqual(['False', 'Stopped']);
    expect(status).toMatchObject({phase: 'Stopped', usage: readyStatus.usage});
    expect(status.instance).toBeUndefined();
    const {out, err} = await cli(['get'], {home: state.home});
    expect(err).toBe(noController);
    expect(out).toBe(
      'NAME     COMPONENT   READY   STATUS    PROVIDER:MODEL        PORT     RESTARTS   AGE\n' +
        'athena   athena      False   Stopped   ollama:llama3.3:70b   <none>   0          <none>\n',
    );
  });

  it('asks the worker itself, on its port and on its control socket', async () => {
    worker = await launchHere(state.home, athena);
    await writeFleet(state.home, [athena]);
    const status = await statusOf('athena');
    expect(readyOf(status)).toEqual(['True', 'Ready']);
    expect(status).toMatchObject({
      phase: 'Ready',
      port: worker.port,
      instance: {uid: 'uid-of-athena', identity: {pid: process.pid}},
      model: {provider: 'offline', model: 'expertise'},
    });
  });

  it('finds a process whose port is mute not ready', async () => {
    worker = await launchHere(state.home, athena);
    await worker.close(0);
    await writeFleet(state.home, [athena]);
    await writeStatus(state.home, athena, readyStatus);
    const status = await statusOf('athena');
    expect(status.phase).toBe('NotReady');
    expect(readyOf(status)).toEqual(['False', 'ProbeFailed']);
  });

  it('does not take another specialist on the port for the one that was launched', async () => {
    worker = await launchHere(state.home, athena);
    const numa = sampleDesired({name: 'numa'});
    await writeFleet(state.home, [athena, numa]);
    const {launchRecord} = statePaths(state.home);
    const record = {
      ...(await readJson(launchRecord('athena-ai'))),
      aiId: 'numa-ai',
      name: 'numa',
      controlPath: '/none',
    };
    await writeFile(launchRecord('numa-ai'), JSON.stringify(record));
    expect(readyOf(await statusOf('numa'))).toEqual(['False', 'ProbeFailed']);
    expect(readyOf(await statusOf('athena'))).toEqual(['True', 'Ready']);
  });

  it('says that a stopped fleet was stopped, and remarks nothing more', async () => {
    await writeFleet(state.home, [athena], {stopped: true});
    const {out, err} = await cli(['status'], {home: state.home});
    expect(err).toBe('');
    expect(out).toContain('athena-ai: Stopped: the fleet was stopped by `tekton-ai down`\n');
  });
});

describe('with a controller', () => {
  it('believes its status file', async () => {
    await writeFleet(state.home, [athena]);
    await pretendController(state.home, '2026-01-05T10:00:00.000Z');
    await writeStatus(state.home, athena, readyStatus);
    expect(await statusOf('athena')).toEqual(readyStatus);
    const {err} = await cli(['get'], {home: state.home});
    expect(err).toBe('');
  });

  it('that hangs believes nothing it wrote, and says how to go on', async () => {
    await writeFleet(state.home, [athena]);
    await pretendController(state.home, '2026-01-05T10:00:00.000Z', {mute: true});
    await writeStatus(state.home, athena, readyStatus);
    const {out, err} = await cli(['get'], {home: state.home});
    expect(out).not.toContain('Ready ');
    expect(err).toContain(`the controller (pid ${process.pid}) does not answer`);
  });

  it('believes no status from before its start', async () => {
    await writeFleet(state.home, [athena]);
    await writeStatus(state.home, athena, readyStatus, {syncedAt: '2026-01-05T09:00:00.000Z'});
    await pretendController(state.home, '2026-01-05T10:00:00.000Z');
    expect(readyOf(await statusOf('athena'))).toEqual(['False', 'Stopped']);
  });

  it('passes on why a source cannot be applied', async () => {
    await writeFleet(state.home, [athena]);
    await pretendController(state.home, '2026-01-05T10:00:00.000Z');
    const sourceError = {
      reason: 'SourceInvalid',
      message: 'tekton-ai.yaml:3:1: no',
      at: '2026-01-05T10:00:00Z',
    } as const;
    await writeStatus(state.home, athena, stoppedStatus, {sourceError});
    const {out, err} = await cli(['status'], {home: state.home});
    expect(err).toBe('fleet dev: SourceInvalid: tekton-ai.yaml:3:1: no\n');
    expect(out).toMatchInlineSnapshot(`
     "COMPONENT   AI-ID       PORT     MODEL                 HEALTH    RESTARTS   UPTIME   MEMORY
     athena      athena-ai   <none>   ollama:llama3.3:70b   Stalled   7          <none>   <none>

     athena-ai: ModelNotFound: model qwen3 is not pulled; run: ollama pull qwen3
     "
    `);
  });
});

describe('names and filters', () => {
  beforeEach(async () => {
    const lab = sampleDesired({name: 'athena', namespace: 'lab', fleet: 'lab', aiId: 'lab.athena-ai'});
    await writeFleet(state.home, [athena, sampleDesired({name: 'numa'})]);
    await writeFleet(state.home, [lab], {name: 'lab', namespace: 'lab'});
  });

  const names = async (...argv: string[]) => (await cli(['get', '-o', 'name', ...argv], {home: state.home})).out;

  it('takes a name, an ai id or namespace/name', async () => {
    expect(await names()).toBe('specialist/athena\nspecialist/numa\nspecialist/lab/athena\n');
    expect(await names('numa')).toBe('specialist/numa\n');
    expect(await names('numa-ai', 'lab/athena')).toBe('specialist/numa\nspecialist/lab/athena\n');
    expect(await names('athena', '-n', 'lab')).toBe('specialist/lab/athena\n');
    expect(await names('--fleet', 'dev')).toBe('specialist/athena\nspecialist/numa\n');
    expect(await names('--component', 'numa')).toBe('specialist/numa\n');
    expect(await names('--role', 'knowledge', '--component', 'athena', '-n', 'default')).toBe('specialist/athena\n');
    expect(await names('--role', 'nobody')).toBe('');
  });

  it.each(['get', 'usage', 'top'])('%s refuses a namespace that no fleet is in', async verb => {
    expect(await cli([verb, '-n', 'nope'], {home: state.home})).toMatchObject({
      ...{code: 1, out: ''},
      err: expect.stringMatching(/error: nothing is known of namespace "nope"\nhint: there are dev, lab\/lab\n$/),
    });
  });

  it.each([
    [['--fleet', 'nope'], 'there is no fleet "nope"'],
    [['-n', 'nope'], 'there is no fleet in namespace "nope"'],
    [['--fleet', 'dev', '-n', 'lab'], 'there is no fleet "dev" in namespace "lab"'],
  ])('down %j stops none', async (flags, message) => {
    expect(await cli(['down', ...flags], {home: state.home})).toEqual({
      code: 1,
      out: '',
      err: `error: ${message}\nhint: there are dev, lab/lab\n`,
    });
  });

  it('waits for the end of nobody, and says so', async () => {
    expect(await cli(['wait', 'nobody', '--for', 'delete'], {home: state.home})).toEqual({
      code: 0,
      out: '',
      err: 'no specialist "nobody" is known: nothing to wait for\n',
    });
  });

  it('says which ones a name could mean', async () => {
    expect(await cli(['get', 'athena'], {home: state.home})).toEqual({
      code: 1,
      out: '',
      err: 'error: "athena" could be default/athena or lab/athena\nhint: name one of them, or use -n\n',
    });
  });

  it.each(['get', 'describe', 'logs', 'chat', 'events'])(
    '%s of an unknown name ends with 1 and the nearest one',
    async verb => {
      const message = verb === 'chat' ? ['hello'] : [];
      expect(await cli([verb, 'nuna', ...message], {home: state.home})).toEqual({
        code: 1,
        out: '',
        err: 'error: there is no specialist "nuna"\nhint: did you mean `numa`? known: athena, lab/athena, numa\n',
      });
    },
  );
});

it('says where nothing is known at all', async () => {
  expect(await cli(['get'], {home: state.home})).toEqual({code: 0, out: '', err: 'no specialists found\n'});
  expect(await cli(['chat', 'athena', 'hi'], {home: state.home})).toEqual({
    code: 1,
    out: '',
    err: 'error: there is no specialist "athena": none is declared\nhint: tekton-ai up\n',
  });
});

it('says why a specialist cannot chat', async () => {
  await writeFleet(state.home, [athena]);
  expect(await cli(['chat', 'athena', 'hi'], {home: state.home})).toEqual({
    code: 1,
    out: '',
    err:
      'error: cannot chat with athena: it is not running, and no controller runs that would start it\n' +
      'hint: tekton-ai up\n',
  });
  await pretendController(state.home, '2026-01-05T10:00:00.000Z');
  await writeStatus(state.home, athena, {...readyStatus, ...stoppedStatus});
  expect(await cli(['chat', 'athena', 'hi'], {home: state.home})).toEqual({
    code: 1,
    out: '',
    err:
      'error: cannot chat with athena: ModelNotFound: model qwen3 is not pulled; run: ollama pull qwen3\n' +
      'hint: tekton-ai describe athena\n',
  });
});

describe('get -w', () => {
  it('prints the table, then what changes, until it is interrupted', async () => {
    await writeFleet(state.home, [athena]);
    await pretendController(state.home, '2026-01-05T10:00:00.000Z');
    await writeStatus(state.home, athena, stoppedStatus);
    const stop = new AbortController();
    let changed = false;
    const {code, out} = await cli(['get', '-w'], {
      home: state.home,
      signal: stop.signal,
      onOut: text => {
        if (text.includes('Ready  ')) stop.abort();
        else if (!changed && text.includes('Stalled')) {
          changed = true;
          void writeStatus(state.home, athena, readyStatus);
        }
      },
    });
    expect(code).toBe(130);
    const lines = out.trimEnd().split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(/^NAME +COMPONENT +READY/);
    expect(lines[1]).toMatch(/^athena +athena +False +Stalled/);
    expect(lines[2]).toMatch(/^athena +athena +True +Ready/);
    expect(lines[2]?.indexOf('True')).toBe(lines[0]?.indexOf('READY'));
  });

  it('rolls a fleet up', async () => {
    const revision = '1234567890123456789012345678901234567890';
    await writeFleet(state.home, [athena], {revision});
    await pretendController(state.home, '2026-01-05T10:00:00.000Z');
    const lastError = {at: '2026-01-05T10:00:01.000Z', reason: 'Exited', aiId: 'athena-ai', message: 'signal SIGKILL'};
    await writeStatus(state.home, athena, readyStatus, {syncedAt: '2026-01-05T10:00:02.000Z', lastError});
    const {out} = await cli(['status', '-o', 'json'], {home: state.home});
    // The sample says nothing of Live.
    const counts = {declared: 1, enabled: 1, live: 0, ready: 1, progressing: 0, stalled: 0};
    const synced = {syncedAt: '2026-01-05T10:00:02.000Z', lastError};
    expect(JSON.parse(out)).toEqual({
      apiVersion: 'tekton.ai/v1alpha1',
      kind: 'List',
      items: [
        {
          apiVersion: 'tekton.ai/v1alpha1',
          kind: 'Fleet',
          metadata: {name: 'dev', namespace: 'default'},
          status: {appliedAt: expect.any(String), revision, stopped: false, counts, ...synced},
        },
      ],
    });
  });
});

async function readJson(file: string): Promise<Record<string, unknown>> {
  const {readFile} = await import('node:fs/promises');
  return JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
}
