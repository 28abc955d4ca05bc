import {afterEach, beforeEach, describe, expect, it} from '@jest/globals';
import {existsSync, mkdtempSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {ControlConnection} from '../../src/protocol/control-client.js';
import type {ControlNotice, Hello} from '../../src/protocol/control.js';
import {ProviderError} from '../../src/providers/provider.js';
import {connectUnix} from '../../src/runtime/connect.js';
import {bench, configOf, HandProvider, until} from './harness.js';
import type {Bench} from './harness.js';

let folder = '';
let path = '';
let made: Bench | undefined;
const controls: ControlConnection[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tekton-control-'));
  path = join(folder, 'athena-ai.sock');
});
afterEach(async () => {
  for (const control of controls.splice(0)) control.close();
  await made?.stop();
  made = undefined;
  rmSync(folder, {recursive: true});
});

async function start(...[changes, options]: Parameters<typeof bench>): Promise<Bench> {
  made = await bench(changes, {...options, controlPath: path});
  return made;
}

async function owner(): Promise<ControlConnection> {
  const control = new ControlConnection(await connectUnix(path));
  controls.push(control);
  return control;
}

describe('the control socket', () => {
  it('is its owner’s alone, and is removed at the end', async () => {
    const {worker} = await start();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await worker.close();
    expect(existsSync(path)).toBe(false);
  });

  it('takes the place of one that a killed worker has left', async () => {
    const code = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    const {execFileSync} = await import('node:child_process');
    expect(() => execFileSync(process.execPath, ['-e', code])).toThrow();
    expect(existsSync(path)).toBe(true);
    await start();
    expect((await (await owner()).request({type: 'hello'})).ok).toBe(true);
  });

  it('leaves a socket that answers alone, and leaves nothing bound', async () => {
    const server = createServer().listen(path);
    await expect(start()).rejects.toMatchObject({name: 'ListenError', reason: 'LaunchFailed'});
    await new Promise(resolve => server.close(resolve));
  });

  it('leaves a file that is no socket alone', async () => {
    writeFileSync(path, 'precious');
    await expect(start()).rejects.toThrow(`cannot listen on ${path}`);
    expect(existsSync(path)).toBe(true);
  });

  it('closes on what is no request', async () => {
    await start();
    const control = await owner();
    void control.request({type: 'drain', graceMs: -1}).catch(() => undefined);
    await control.closed;
  });
});

it('tells who it is', async () => {
  const {worker} = await start();
  expect(await (await owner()).request({type: 'hello'})).toMatchObject({
    ok: true,
    hello: {
      uid: 'uid-1',
      pid: process.pid,
      port: worker.port,
      aiId: 'athena-ai',
      fleet: 'dev',
      namespace: 'default',
      generation: 1,
      specHash: 'hash',
      declared: {model: 'm1'},
      draining: false,
      usage: {requests: 0, inputTokens: 0, outputTokens: 0},
    },
  });
});

describe('configure', () => {
  it('lets chats under way finish on the old provider, and begins others on the new one', async () => {
    const old = new HandProvider();
    const renewed = new HandProvider();
    const {client} = await start({}, {createProvider: async ({name}) => (name === 'hand' ? old : renewed)});
    const control = await owner();
    const first = client().send({content: 'before'});
    const call = await old.call(0);
    const config = configOf({
      generation: 2,
      provider: {name: 'other', type: 'scripted'},
      model: 'm2',
      choice: {provider: 'other', type: 'scripted', model: 'm2'},
    });
    expect(await control.request({type: 'configure', config})).toMatchObject({ok: true});
    const second = client().send({content: 'after'});
    (await renewed.call(0)).end('new');
    call.end('old');
    expect(await first.line()).toMatchObject({content: 'old', model: 'hand:m1'});
    expect(await second.line()).toMatchObject({content: 'new', model: 'other:m2'});
    expect(await control.request({type: 'hello'})).toMatchObject({hello: {generation: 2, choice: {model: 'm2'}}});
  });

  it('keeps the provider when only parameters change, and widens the limits at once', async () => {
    let created = 0;
    const provider = new HandProvider();
    const {client} = await start(
      {concurrency: {max: 1, queue: 5}},
      {
        createProvider: async () => {
          created++;
          return provider;
        },
      },
    );
    client().send({content: 'a', request_id: 1}, {content: 'b', request_id: 2});
    await provider.call(0);
    const config = configOf({parameters: {temperature: 1}, concurrency: {max: 2, queue: 5}});
    await (await owner()).request({type: 'configure', config});
    expect((await provider.call(1)).request.parameters).toEqual({temperature: 1});
    expect(created).toBe(1);
  });

  it.each([
    [
      'another specialist',
      configOf({aiId: 'apollo-ai'}),
      'aiId cannot change without a restart: athena-ai to apollo-ai',
    ],
    ['another address', configOf({host: '0.0.0.0'}), 'host cannot change without a restart: 127.0.0.1 to 0.0.0.0'],
    ['a newer format', configOf({formatVersion: 99}), 'configuration has format version 99; this worker knows 1'],
  ])('refuses %s', async (_, config, error) => {
    await start();
    const control = await owner();
    expect(await control.request({type: 'configure', config})).toMatchObject({ok: false, error});
    expect(await control.request({type: 'hello'})).toMatchObject({hello: {aiId: 'athena-ai', generation: 1}});
  });
});

describe('the model’s status', () => {
  it('is the owner’s word while the owner is there', async () => {
    const {client, provider} = await start();
    const control = await owner();
    const message = 'run: ollama pull m1';
    await control.request({type: 'model-status', check: {available: false, reason: 'ModelNotFound', message}});
    const talk = client().send({type: 'health'});
    expect(await talk.line()).toMatchObject({status: 'degraded', reason: 'ModelNotFound', message});
    await control.request({type: 'model-status', check: {available: true, contextTokens: 4096}});
    expect(await talk.send({type: 'health'}).line()).toMatchObject({status: 'healthy'});
    expect(await talk.send({type: 'info'}).line()).toMatchObject({context_window: 4096});
    expect(provider.checks).toBe(0);
  });

  it('is told to subscribers as suspect when a chat fails, and when one works again', async () => {
    const {client, provider} = await start();
    const control = await owner();
    const suspects: string[] = [];
    control.onNotice(notice => void (notice.type === 'model-suspect' && suspects.push(notice.code)));
    await control.request({type: 'subscribe'});
    client().send({content: 'a'}, {content: 'b'}, {content: 'c'});
    (await provider.call(0)).fail(new ProviderError('busy', {code: 'overloaded', retryable: true}));
    (await provider.call(1)).fail(new ProviderError('gone', {code: 'provider_unreachable', retryable: true}));
    (await provider.call(2)).end('here');
    await until(() => suspects.length === 2, 'both notices');
    expect(suspects).toEqual(['provider_unreachable', 'recovered']);
  });
});

it('tells subscribers the usage, many chats in few notices, the last one complete', async () => {
  const {client, provider} = await start();
  const control = await owner();
  const notices: ControlNotice[] = [];
  control.onNotice(notice => notices.push(notice));
  await control.request({type: 'subscribe'});
  const talk = client();
  for (let n = 0; n < 50; n++) {
    talk.send({content: 'x'});
    (await provider.call(n)).end('y');
  }
  const complete = {type: 'usage', usage: {requests: 50, inputTokens: 150, outputTokens: 250}};
  await until(() => JSON.stringify(notices.at(-1)) === JSON.stringify(complete), 'the last usage');
  expect(notices.length).toBeLessThan(10);
});

describe('what somebody does', () => {
  /** One that listens, and all that it hears of what others did. */
  async function listener() {
    const control = await owner();
    const heard: string[] = [];
    let last: Hello | undefined;
    control.onNotice(notice => {
      if (notice.type !== 'changed') return;
      heard.push(notice.by);
      last = notice.hello;
    });
    await control.request({type: 'subscribe'});
    return {control, heard, hello: () => last};
  }

  it('is told to every other owner that listens, at once, and to nobody else', async () => {
    await start();
    const [doer, other, deaf] = [await listener(), await listener(), await owner()];
    let told = 0;
    deaf.onNotice(() => told++);
    const config = configOf({model: 'm2', parameters: {temperature: 0.9}});
    expect(await doer.control.request({type: 'configure', config})).toMatchObject({ok: true, revision: 1});
    await until(() => other.heard.length > 0, 'the notice');
    expect(other.heard).toEqual(['configure']);
    expect(other.hello()).toMatchObject({revision: 1, running: {model: 'm2', parameters: {temperature: 0.9}}});
    expect(await doer.control.request({type: 'hello'})).toMatchObject({hello: {revision: 1}});
    expect([doer.heard, told]).toEqual([[], 0]);
  });

  it('is in the answer to who subscribes, for whoever asked before it happened', async () => {
    await start();
    const [doer, other] = [await owner(), await owner()];
    expect(await other.request({type: 'hello'})).toMatchObject({hello: {revision: 0, draining: false}});
    await doer.request({type: 'configure', config: configOf({model: 'm2'})});
    await doer.request({type: 'drain', graceMs: 0});
    const now = {revision: 1, draining: true, running: {model: 'm2'}};
    expect(await other.request({type: 'subscribe'})).toMatchObject({ok: true, hello: now});
  });

  it('is told before a drain has ended; its chats may take long', async () => {
    const {client, provider} = await start();
    const [doer, other] = [await listener(), await listener()];
    client().send({content: 'a'});
    const call = await provider.call(0);
    const drain = doer.control.request({type: 'drain', graceMs: 10_000});
    await until(() => other.heard.length > 0, 'the notice');
    expect(other.heard).toEqual(['drain']);
    expect(other.hello()).toMatchObject({draining: true});
    expect(other.hello()?.ending).toBeUndefined();
    call.end('done');
    await drain;
  });

  it('is told of a shutdown and of a signal: it is to end', async () => {
    const {client, provider, worker} = await start();
    const [doer, other] = [await listener(), await listener()];
    client().send({content: 'a'});
    const call = await provider.call(0);
    const closed = worker.close(10_000, 'SIGTERM');
    await until(() => doer.heard.length > 0 && other.heard.length > 0, 'the notices');
    expect([doer.heard, other.heard]).toEqual([['SIGTERM'], ['SIGTERM']]);
    expect(other.hello()).toMatchObject({draining: true, ending: true});
    call.end('done');
    await closed;
  });

  it('names no secret in what it runs', async () => {
    const provider = {name: 'hand', type: 'scripted', apiKey: 'sk-secret', apiKeyFrom: 'KEY'} as const;
    await start({provider, authToken: 'sk-token'});
    const reply = await (await owner()).request({type: 'hello'});
    expect(reply).toMatchObject({hello: {running: {model: 'm1', provider: {name: 'hand'}}}});
    expect(JSON.stringify(reply)).not.toMatch(/sk-secret|sk-token/);
  });
});

describe('drain and shutdown', () => {
  it('answer when the last chat has ended', async () => {
    const {client, provider, worker} = await start();
    const control = await owner();
    const talk = client().send({content: 'a'});
    const call = await provider.call(0);
    let drained = false;
    const drain = control.request({type: 'drain', graceMs: 10_000}).then(reply => {
      drained = true;
      return reply;
    });
    await until(() => {
      talk.send({type: 'ping', request_id: 1});
      return talk.lines.length > 3;
    }, 'pongs');
    expect(drained).toBe(false);
    expect(await control.request({type: 'hello'})).toMatchObject({hello: {draining: true}});
    call.end('done');
    expect(await drain).toMatchObject({ok: true});
    expect(await control.request({type: 'shutdown', graceMs: 10_000})).toMatchObject({ok: true});
    expect(await worker.done).toBe(0);
    await control.closed;
  });
});
