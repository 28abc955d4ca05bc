import {createHmac} from 'node:crypto';
import {afterEach, expect, test} from '@jest/globals';
import type {FleetEvent, FleetRecord} from '../../src/api/types.js';
import {Notifier} from '../../src/notify/notifier.js';
import type {World} from './support.js';
import {event, Receiver, record, spec, webhook, world} from './support.js';

const open: {close(): unknown}[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function receiver(...answer: Parameters<typeof Receiver.listen>): Promise<Receiver> {
  const made = await Receiver.listen(...answer);
  open.push(made);
  return made;
}

function notifier(deps: World, ...records: readonly FleetRecord[]) {
  const failures: string[] = [];
  const made = new Notifier({
    deps,
    startedAt: '2026-01-01T00:05:00.000Z',
    failed: ({name}, message) => failures.push(`${name}: ${message}`),
  });
  open.push(made);
  for (const one of records) made.declare(one);
  return {notifier: made, failures};
}

/** Longer than any test: what ends the wait is that everything is delivered. */
const aWhile = 60_000;

test('tells the event as JSON, signed, with headers from secrets', async () => {
  const deps = world();
  const hook = await receiver();
  deps.secrets.set('KEY', 'k').set('TOKEN', 't-1').set('URL', `${hook.url}/hooks/x?y=1`);
  const to = webhook('', {url: {env: 'URL'}, headers: {Authorization: {env: 'TOKEN'}}, secret: {env: 'KEY'}});
  const told = notifier(deps, record([spec(to)]));
  told.notifier.notify([event('Exited'), event('Launched', {type: 'Normal'})]);
  await told.notifier.settle(aWhile);
  const [request] = hook.requests;
  expect(hook.requests).toHaveLength(1);
  expect(request).toMatchObject({method: 'POST', path: '/hooks/x?y=1'});
  expect(JSON.parse(request?.body ?? '')).toEqual(event('Exited'));
  expect(request?.headers).toMatchObject({
    authorization: 't-1',
    'content-type': 'application/json',
    'x-tekton-event': 'Exited',
    'x-tekton-signature-256': `sha256=${createHmac('sha256', 'k')
      .update(request?.body ?? '')
      .digest('hex')}`,
  });
  expect(told.failures).toEqual([]);
});

test('tries again after a 500, as the same delivery, and keeps the order', async () => {
  const hook = await receiver((_, response, count) => void response.writeHead(count === 1 ? 500 : 200).end());
  const told = notifier(world(), record([spec(webhook(hook.url))]));
  told.notifier.notify([event('Exited'), event('CrashLoop')]);
  await told.notifier.settle(aWhile);
  const [first, second, third] = hook.requests.map(({headers}) => headers);
  expect(hook.requests.map(({headers}) => headers['x-tekton-event'])).toEqual(['Exited', 'Exited', 'CrashLoop']);
  expect(second?.['x-tekton-delivery']).toBe(first?.['x-tekton-delivery']);
  expect(third?.['x-tekton-delivery']).not.toBe(first?.['x-tekton-delivery']);
  expect(told.failures).toEqual([]);
});

test('waits as long as a 429 asks for', async () => {
  const deps = world();
  const hook = await receiver(
    (_, response, count) => void response.writeHead(count === 1 ? 429 : 200, {'retry-after': '7'}).end(),
  );
  const told = notifier(deps, record([spec(webhook(hook.url))]));
  told.notifier.notify([event()]);
  await told.notifier.settle(aWhile);
  expect(hook.requests).toHaveLength(2);
  expect(deps.slept).toEqual([7000]);
});

test('does not try again what the receiver does not want, and says why once', async () => {
  const hook = await receiver((_, response) => void response.writeHead(400).end('invalid_payload'));
  const told = notifier(world(), record([spec(webhook(hook.url))]));
  told.notifier.notify([event(), event(), event()]);
  await told.notifier.settle(aWhile);
  expect(hook.requests).toHaveLength(3);
  expect(told.failures).toHaveLength(1);
  expect(told.failures[0]).toMatch(
    /^dev: cannot notify ops \(webhook, 127\.0\.0\.1:\d+\): 400 Bad Request: invalid_payload/,
  );
});

test('says it again once it had worked in between', async () => {
  const hook = await receiver((_, response, count) => void response.writeHead(count === 2 ? 200 : 400).end());
  const told = notifier(world(), record([spec(webhook(hook.url))]));
  told.notifier.notify([event(), event(), event()]);
  await told.notifier.settle(aWhile);
  expect(told.failures).toHaveLength(2);
});

test('follows no redirect, so that no other host gets the secrets', async () => {
  const deps = world();
  deps.secrets.set('TOKEN', 'secret-token-1');
  const other = await receiver();
  const hook = await receiver((_, response) => void response.writeHead(307, {location: `${other.url}/steal`}).end());
  const told = notifier(deps, record([spec(webhook(hook.url, {headers: {Authorization: {env: 'TOKEN'}}}))]));
  told.notifier.notify([event()]);
  await told.notifier.settle(aWhile);
  expect(other.requests).toEqual([]);
  expect(hook.requests).toHaveLength(1);
  expect(told.failures[0]).toContain('307: it redirects to 127.0.0.1:');
});

test('gives up on a receiver that never answers, and nobody waits for it', async () => {
  const hook = await receiver(() => undefined);
  const fine = await receiver();
  const told = notifier(
    world(),
    record([spec(webhook(hook.url, {timeoutSeconds: 0.05, retries: 1})), spec(webhook(fine.url), {name: 'fine'})]),
  );
  told.notifier.notify([event()]);
  await fine.got(1);
  await told.notifier.settle(aWhile);
  expect(hook.requests).toHaveLength(2);
  expect(told.failures).toEqual([expect.stringContaining('no answer within 0.05 s')]);
});

test('keeps secrets out of what it says, whatever the receiver sends back', async () => {
  const deps = world();
  const hook = await receiver((request, response) => {
    response.writeHead(400).end(`you sent ${String(request.headers['authorization'])} to ${request.path}`);
  });
  deps.secrets.set('TOKEN', 'plain-words').set('URL', `${hook.url}/T000/B000/xyz`);
  const to = webhook('', {url: {env: 'URL'}, headers: {Authorization: {env: 'TOKEN'}}});
  const told = notifier(deps, record([spec(to)]));
  told.notifier.notify([event()]);
  await told.notifier.settle(aWhile);
  const said = [...told.failures, ...deps.log.lines].join('\n');
  expect(said).toContain('the address in URL');
  expect(said).not.toMatch(/plain-words|T000/);
});

test('a secret that is not set is said by its name', async () => {
  const told = notifier(world(), record([spec(webhook('', {url: {env: 'SLACK_URL'}}))]));
  told.notifier.notify([event()]);
  await told.notifier.settle(aWhile);
  expect(told.failures).toEqual([expect.stringContaining('SLACK_URL is not set')]);
});

test('a dead receiver makes the queue no longer than its bound: the oldest go', async () => {
  const hook = await receiver(() => undefined);
  const told = notifier(world(), record([spec(webhook(hook.url))]));
  told.notifier.notify(Array.from({length: 1000}, (_, n) => event('Exited', {message: `${n}`})));
  await hook.got(1);
  expect(told.failures).toEqual([expect.stringContaining('more than 256 messages wait')]);
});

test('tells one of many in the interval, and then the last with how many were left out', async () => {
  const deps = world();
  const hook = await receiver();
  const told = notifier(deps, record([spec(webhook(hook.url), {minIntervalSeconds: 60})]));
  const crash = (n: number) => event('CrashLoop', {message: `${n}`});
  told.notifier.notify([crash(1), crash(2), crash(3), crash(4), event('CrashLoop', {aiId: 'apollo-ai'})]);
  await hook.got(2);
  deps.turnClock();
  await hook.got(3);
  const bodies = hook.requests.map(({body}) => JSON.parse(body) as {message: string; leftOut?: number});
  expect(bodies.map(({message, leftOut}) => [message, leftOut])).toEqual([
    ['1', undefined],
    ['pid 7 ended by "SIGKILL"', undefined],
    ['4', 2],
  ]);
});

test('goes on where the one before it was killed, and tells nothing twice', async () => {
  const deps = world();
  const hook = await receiver();
  const at = '2026-01-01T00:04:00.000Z';
  const old = (message: string, when = at) => event('Exited', {at: when, message});
  deps.events = [
    old('long ago', '2025-12-31T00:00:00.000Z'),
    old('before', '2026-01-01T00:03:00.000Z'),
    old('delivered'),
    event('Launched', {type: 'Normal', at}),
    old('of the same moment'),
    old('later', '2026-01-01T00:04:30.000Z'),
    event('Exited', {fleet: 'other', at: '2026-01-01T00:04:30.000Z'}),
    old('told by notify', '2026-01-01T00:06:00.000Z'),
  ];
  deps.written.set('default/dev', {ops: {at, count: 1}});
  const told = notifier(deps, record([spec(webhook(hook.url))]));
  await told.notifier.settle(aWhile);
  const messages = hook.requests.map(({body}) => (JSON.parse(body) as {message: string}).message);
  expect(messages).toEqual(['of the same moment', 'later']);
  expect(deps.written.get('default/dev')).toEqual({ops: {at: '2026-01-01T00:04:30.000Z', count: 1}});
});

test('news that are older than an hour are none', async () => {
  const deps = world();
  const hook = await receiver();
  deps.events = [event('Exited', {at: '2025-12-31T20:00:00.000Z'})];
  deps.written.set('default/dev', {ops: {at: '2025-12-31T10:00:00.000Z', count: 0}});
  const told = notifier(deps, record([spec(webhook(hook.url))]));
  await told.notifier.settle(aWhile);
  expect(hook.requests).toEqual([]);
});

test('a new destination is told of nothing that was before it', async () => {
  const deps = world();
  const hook = await receiver();
  deps.events = [event('Exited', {at: '2026-01-01T00:04:00.000Z'})];
  const told = notifier(deps, record([spec(webhook(hook.url))]));
  await told.notifier.settle(aWhile);
  expect(hook.requests).toEqual([]);
  expect(deps.written.get('default/dev')).toEqual({ops: {at: deps.clock.iso(), count: 0}});
});

test('what the declaration drops is told of nothing more, and what it changes at once', async () => {
  const [before, after] = [await receiver(), await receiver()];
  const told = notifier(world(), record([spec(webhook(before.url)), spec(webhook(before.url), {name: 'second'})]));
  told.notifier.declare(record([spec(webhook(after.url))]));
  told.notifier.notify([event()]);
  await told.notifier.settle(aWhile);
  expect([before.requests.length, after.requests.length]).toEqual([0, 1]);
});

test('appends a line per event to a file, or what the template makes', async () => {
  const deps = world();
  const told = notifier(
    deps,
    record([
      spec({type: 'file', path: '/var/log/a'}),
      spec({type: 'file', path: '/var/log/b', template: '{{reason}} <{{message}}>'}, {name: 'second'}),
    ]),
  );
  told.notifier.notify([event(), event('CrashLoop')]);
  await told.notifier.settle(aWhile);
  expect(deps.files.get('/var/log/a')).toBe(`${JSON.stringify(event())}\n${JSON.stringify(event('CrashLoop'))}\n`);
  expect(deps.files.get('/var/log/b')).toMatch(/^Exited <pid 7 ended by "SIGKILL">\nCrashLoop /);
});

function ofSource(reason = 'FetchFailed', more: object = {}): FleetEvent {
  const {fleet: _, aiId: __, ...rest} = event(reason);
  return {...rest, gitSource: 'default/platform', ...more};
}

const fromGit = (name: string, source = 'default/platform') =>
  ({name, source: {type: 'git', source, url: 'https://git.example.com/acme/platform.git', path: '.'}}) as const;

test('what happens to a git source is told by its fleets alone, and to each destination once', async () => {
  const [shared, own, other] = [await receiver(), await receiver(), await receiver()];
  const told = notifier(
    world(),
    record([spec(webhook(shared.url))], fromGit('one')),
    record([spec(webhook(shared.url)), spec(webhook(own.url), {name: 'own'})], fromGit('two')),
    record([spec(webhook(other.url))], fromGit('three', 'default/elsewhere')),
    record([spec(webhook(other.url))], {name: 'four'}),
  );
  told.notifier.notify([ofSource('PolicyViolation', {revision: 'abc'})]);
  await told.notifier.settle(aWhile);
  expect([shared, own, other].map(({requests}) => requests.length)).toEqual([1, 1, 0]);
  expect(JSON.parse(own.requests[0]?.body ?? '')).toEqual(ofSource('PolicyViolation', {revision: 'abc'}));
});

test('what was missed of a git source is made up for, and nothing twice by another fleet of it', async () => {
  const deps = world();
  const hook = await receiver();
  const at = (minute: number) => `2026-01-01T00:0${minute}:00.000Z`;
  const two = [record([spec(webhook(hook.url))], fromGit('one')), record([spec(webhook(hook.url))], fromGit('two'))];
  const before = notifier(deps, ...two);
  for (const name of ['one', 'two']) deps.written.set(`default/${name}`, {ops: {at: at(1), count: 1}});
  const again = notifier(deps, ...two);
  again.notifier.notify([ofSource('FetchFailed', {at: at(6)})]);
  await again.notifier.settle(aWhile);
  expect(hook.requests).toHaveLength(1);
  expect(deps.written.get('default/two')).toEqual({ops: {at: at(6), count: 1}});
  before.notifier.close();
  deps.events = [ofSource('PolicyViolation', {at: at(3)})];
  deps.written.set('default/one', {ops: {at: at(1), count: 1}}).set('default/two', {ops: {at: at(4), count: 1}});
  await notifier(deps, ...two).notifier.settle(aWhile);
  expect(hook.requests).toHaveLength(2);
});
