/** What a worker counts of its chats, and how it holds to a budget, as clients and its owner see it. */
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import path from 'node:path';
import {afterEach, beforeEach, expect, it} from '@jest/globals';
import type {WorkerConfig} from '../../src/protocol/control.js';
import {ControlConnection} from '../../src/protocol/control-client.js';
import type {ControlNotice} from '../../src/protocol/control.js';
import {ProviderError} from '../../src/providers/provider.js';
import {readUsage} from '../../src/registry/usage-files.js';
import {connectUnix} from '../../src/runtime/connect.js';
import {bench, configOf, HandProvider, until} from './harness.js';
import type {Bench} from './harness.js';

const day = '2026-11-22';
const midnight = Date.parse('2026-11-23T00:00:00Z');
const prices = {m1: {input: 1_000_000, output: 0}};

let home: string;
let wallMs: number;
let providers: Map<string, HandProvider>;
let worker: Bench | undefined;

beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), 'tekton-budget-'));
  wallMs = midnight - 60_000;
  providers = new Map();
});
afterEach(async () => {
  await worker?.stop();
  rmSync(home, {recursive: true, force: true});
});

async function start(changes: Partial<WorkerConfig>, uid = 'uid-1'): Promise<Bench> {
  const createProvider = async ({name}: {readonly name: string}): Promise<HandProvider> => {
    const provider = providers.get(name) ?? new HandProvider();
    providers.set(name, provider);
    return provider;
  };
  const controlPath = path.join(home, 's.sock');
  const wallNow = (): number => wallMs;
  worker = await bench(changes, {home, uid, wallNow, controlPath, createProvider});
  return worker;
}

async function call(name: string, n = 0) {
  await until(() => providers.has(name), `provider ${name}`);
  return (providers.get(name) as HandProvider).call(n);
}

/** Input 3 and output 5 tokens each, as the harness has it. */
async function chat(client: ReturnType<Bench['client']>, n: number): Promise<Record<string, unknown>> {
  client.send({content: 'hi'});
  (await call('hand', n)).end('ho');
  return client.line();
}

it('counts each chat once, for whoever answered, with what was tried before', async () => {
  const {client, stop} = await start({
    provider: {name: 'hand', type: 'scripted', prices},
    fallback: [{provider: {name: 'spare', type: 'scripted'}, model: 'm2'}],
  });
  const talk = client();
  await chat(talk, 0);
  talk.send({content: 'hi'});
  (await call('hand', 1)).fail(new ProviderError('busy', {code: 'overloaded', retryable: true}));
  (await call('spare')).end('ho');
  await talk.line();
  talk.send({content: 'hi', request_id: 1});
  (await call('hand', 2)).say('a few words of an answer');
  talk.send({type: 'cancel', request_id: 1});
  await talk.line();
  talk.send({content: 'hi', request_id: 2});
  (await call('hand', 3)).fail(new ProviderError('no', {code: 'bad_request', retryable: false}));
  expect(await talk.line()).toMatchObject({code: 'bad_request'});
  talk.send({type: 'health'});
  const health = await talk.line();
  expect(health).toMatchObject({
    usage: {requests: 2, errors: 1, cancelled: 1},
    recent: {requests: 2, output_tokens: 10},
    cpu: expect.any(Number),
  });

  await stop();
  const counts = readUsage(home, 'athena-ai', {from: day, to: day}).days.get(day);
  expect(counts).toMatchObject({errors: {bad_request: 1}, cancelled: 1});
  const [hand, spare] = counts?.targets ?? [];
  expect(hand).toMatchObject({provider: 'hand', requests: 1, errors: {overloaded: 1, bad_request: 1}});
  expect(spare).toMatchObject({
    provider: 'spare',
    model: 'm2',
    requests: 1,
    errors: {},
    inputTokens: 3,
    outputTokens: 5,
  });
  expect(spare).not.toHaveProperty('cost');
  // One answer, and the words of the one that was cut off.
  expect(hand?.outputTokens).toBeGreaterThan(5);
  expect(hand?.cost).toBe(hand?.inputTokens);
});

it('refuses chats with a spent hard budget, says so to client, health and owner, and goes on at midnight', async () => {
  const {client} = await start({budget: {tokensPerDay: 16, mode: 'hard'}});
  const owner = new ControlConnection(await connectUnix(path.join(home, 's.sock')));
  const notices: ControlNotice[] = [];
  owner.onNotice(notice => notices.push(notice));
  await owner.request({type: 'subscribe'});
  const talk = client();
  await chat(talk, 0);
  await chat(talk, 1);
  talk.send({content: 'hi', stream: true});
  expect(await talk.line()).toMatchObject({
    ...{type: 'stream_error', code: 'budget_exceeded', retryable: true},
    error: "athena-ai: the day's budget of 16 tokens is spent; chats are answered again from 2026-11-23T00:00:00Z",
  });
  talk.send({type: 'health'});
  expect(await talk.line()).toMatchObject({status: 'degraded', reason: 'BudgetExceeded'});
  const reply = await owner.request({type: 'hello'});
  expect(reply).toMatchObject({ok: true, hello: {budget: {day, mode: 'hard', exceeded: true}}});
  await until(() => notices.some(({type}) => type === 'budget'), 'the notice');

  wallMs = midnight;
  await chat(talk, 2);
  expect(notices.filter(({type}) => type === 'budget')).toMatchObject([
    {budget: {day, exceeded: true}},
    {budget: {day: '2026-11-23', exceeded: false}},
  ]);
  owner.close();
});

it('refuses those that waited while others spent the rest', async () => {
  const {client} = await start({budget: {tokensPerDay: 8, mode: 'hard'}, concurrency: {max: 1, queue: 9}});
  const talk = client().send({content: 'one', request_id: 1}, {content: 'two', request_id: 2});
  (await call('hand')).end('ho');
  expect(await talk.line()).toMatchObject({type: 'chat_response', request_id: 1});
  expect(await talk.line()).toMatchObject({code: 'budget_exceeded', request_id: 2});
});

it('knows of a spent budget before the first chat, and of one that is declared later', async () => {
  const budget = {tokensPerDay: 8, mode: 'hard'} as const;
  const first = await start({budget});
  await chat(first.client(), 0);
  await first.stop();
  const second = await start({}, 'uid-2');
  const owner = new ControlConnection(await connectUnix(path.join(home, 's.sock')));
  const notices: ControlNotice[] = [];
  owner.onNotice(notice => notices.push(notice));
  await owner.request({type: 'subscribe'});
  await owner.request({type: 'configure', config: configOf({budget})});
  await until(() => notices.some(({type}) => type === 'budget'), 'the notice');
  const talk = second.client().send({content: 'hi'});
  expect(await talk.line()).toMatchObject({code: 'budget_exceeded'});
  owner.close();
});
