/** Pushes told over real HTTP: who is believed, what is answered, and how often the follower hears of it. */
import {createHmac} from 'node:crypto';
import {connect, createServer, type AddressInfo, type Server} from 'node:net';
import {afterEach, describe, expect, it, test} from '@jest/globals';
import type {GitRef, GitSourceRecord} from '../../src/api/git-source.js';
import {Webhooks, type WebhookTimes} from '../../src/cli/webhooks.js';
import {webhookBodyBytes} from '../../src/git/webhook.js';
import {freePort, until} from '../runtime/process/world.js';

const secret = 'a key of this test';
const push = JSON.stringify({ref: 'refs/heads/main', after: 'a'.repeat(40)});
const open: Webhooks[] = [];
const blockers: Server[] = [];
afterEach(async () => {
  for (const webhooks of open.splice(0)) await webhooks.close();
  for (const server of blockers.splice(0)) server.close();
});

function hooks(times: Partial<WebhookTimes> = {}) {
  const secrets = new Map([['HOOK', secret]]);
  const told = {pushed: [] as string[], unavailable: [] as string[], logged: [] as unknown[]};
  const log = (fields: unknown, message: string): void => void told.logged.push([fields, message]);
  const webhooks = new Webhooks({
    log: {info: log, warn: log, debug: log},
    resolve: ref => {
      const name = 'env' in ref ? ref.env : ref.file;
      const value = secrets.get(name);
      return Promise.resolve(value === undefined ? {missing: `${name} is not set`} : {value});
    },
    pushed: id => void told.pushed.push(id),
    unavailable: ({name}, message) => void told.unavailable.push(`${name}: ${message}`),
    times: {gatherMs: 1, ...times},
  });
  open.push(webhooks);
  return {webhooks, secrets, ...told};
}

function source(port: number, more: {name?: string; ref?: GitRef; env?: string} = {}): GitSourceRecord {
  const {name = 'platform', ref = {type: 'branch', name: 'main'}, env = 'HOOK'} = more;
  return {
    ...{formatVersion: 1, version: '0', name, namespace: 'default', appliedAt: '2026-01-01T00:00:00Z', overrides: {}},
    spec: {
      ...{url: 'https://git.example.com/x.git', ref, path: '.', intervalSeconds: 3600, timeoutSeconds: 60},
      ...{suspend: false, forcePush: 'accept', webhook: {host: '127.0.0.1', port, secret: {env}}},
    },
  };
}

async function listen(port = 0): Promise<{readonly server: Server; readonly port: number}> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve));
  blockers.push(server);
  return {server, port: (server.address() as AddressInfo).port};
}

const hmac = (body: string, key = secret): string => createHmac('sha256', key).update(body).digest('hex');

interface Told {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly path?: string;
  readonly method?: string;
}

async function send(
  port: number,
  {headers = {}, body = push, path = '/hooks/default/platform', method = 'POST'}: Told,
) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    ...{method, headers: {'content-type': 'application/json', ...headers}},
    ...(method === 'POST' && {body}),
  });
  return {status: response.status, text: await response.text()};
}

const github = (body = push, key = secret, event = 'push') => ({
  'x-github-event': event,
  'x-hub-signature-256': `sha256=${hmac(body, key)}`,
});

const formats: readonly (readonly [string, (key: string) => Record<string, string>])[] = [
  ['GitHub', key => github(push, key)],
  ['Gitea', key => ({'x-gitea-event': 'push', 'x-gitea-signature': hmac(push, key)})],
  ['GitLab', key => ({'x-gitlab-event': 'Push Hook', 'x-gitlab-token': key})],
  ['plain', key => ({'x-tekton-signature-256': `sha256=${hmac(push, key)}`})],
];

describe.each(formats)('a push in the form of %s', (_, headersOf) => {
  it('is heard with the right secret, and with no other', async () => {
    const port = await freePort();
    const {webhooks, pushed, logged} = hooks();
    await webhooks.follow([source(port)]);
    expect(await send(port, {headers: headersOf('another key')})).toEqual({status: 401, text: 'not accepted\n'});
    expect(await send(port, {})).toEqual({status: 401, text: 'not accepted\n'});
    expect(pushed).toEqual([]);
    expect(await send(port, {headers: headersOf(secret)})).toMatchObject({status: 202});
    await until(() => pushed.length > 0, 'the push to be told');
    expect(pushed).toEqual(['default/platform']);
    expect(JSON.stringify(logged)).not.toContain(secret);
  });
});

const tag = JSON.stringify({ref: 'refs/tags/v1.2.0', after: 'a'.repeat(40)});
const other = JSON.stringify({ref: 'refs/heads/other', after: 'a'.repeat(40)});
test.each<readonly [string, GitRef, string, string, number]>([
  ['a ping', {type: 'branch', name: 'main'}, '{}', 'ping', 200],
  ['an issue', {type: 'branch', name: 'main'}, '{}', 'issues', 200],
  ['another branch', {type: 'branch', name: 'main'}, other, 'push', 200],
  ['any branch where the default one is followed', {type: 'default'}, other, 'push', 202],
  ['a tag that matches', {type: 'tag', pattern: 'v1.*'}, tag, 'push', 202],
  ['a tag that does not', {type: 'tag', pattern: 'v2.*'}, tag, 'push', 200],
  ['a tag where a branch is followed', {type: 'branch', name: 'main'}, tag, 'push', 200],
  ['a push where a commit is followed', {type: 'commit', commit: 'a'.repeat(40)}, push, 'push', 200],
])('%s', async (_, ref, body, event, status) => {
  const port = await freePort();
  const {webhooks} = hooks();
  await webhooks.follow([source(port, {ref})]);
  expect((await send(port, {body, headers: github(body, secret, event)})).status).toBe(status);
});

test.each<readonly [string, Told, number]>([
  ['another path', {path: '/'}, 404],
  ['a source that is none', {path: '/hooks/default/nobody'}, 404],
  ['a path that leads up', {path: '/hooks/default/platform/../x'}, 404],
  ['another method', {method: 'GET'}, 405],
  ['too large a body', {body: 'x'.repeat(webhookBodyBytes + 1)}, 413],
  ['no JSON', {body: 'x', headers: github('x')}, 400],
])('%s is refused', async (_, told, status) => {
  const port = await freePort();
  const {webhooks, pushed} = hooks();
  await webhooks.follow([source(port)]);
  // A server that hangs up on what it does not want to read may be noticed before its answer.
  const answer = await send(port, told).catch((error: unknown) => error);
  if (status !== 413 || !(answer instanceof Error)) expect(answer).toMatchObject({status});
  expect(await send(port, {headers: github()})).toMatchObject({status: 202});
  await until(() => pushed.length > 0, 'the push to be told');
  expect(pushed).toHaveLength(1);
});

test('a slow sender is hung up on', async () => {
  const port = await freePort();
  const {webhooks, pushed} = hooks({requestMs: 100});
  await webhooks.follow([source(port)]);
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  socket.on('data', chunk => (answer += chunk.toString()));
  socket.on('error', () => undefined);
  const closed = new Promise<void>(resolve => socket.once('close', () => resolve()));
  socket.write('POST /hooks/default/platform HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{');
  await closed;
  expect(answer).toMatch(/^(HTTP\/1.1 408 |$)/);
  expect(pushed).toEqual([]);
});

test('a storm of pushes is one look', async () => {
  const port = await freePort();
  const {webhooks, pushed} = hooks({gatherMs: 1000});
  await webhooks.follow([source(port)]);
  const answers = await Promise.all(Array.from({length: 30}, () => send(port, {headers: github()})));
  expect(new Set(answers.map(({status}) => status))).toEqual(new Set([202]));
  await until(() => pushed.length > 0, 'the look');
  await send(port, {headers: github()});
  await until(() => pushed.length > 1, 'the look at what came later');
  expect(pushed).toHaveLength(2);
});

test('two sources share a port, each with its own secret', async () => {
  const port = await freePort();
  const {webhooks, pushed, secrets} = hooks();
  secrets.set('OTHER', 'another key');
  await webhooks.follow([source(port), source(port, {name: 'other', env: 'OTHER'})]);
  const path = '/hooks/default/other';
  expect((await send(port, {path, headers: github()})).status).toBe(401);
  expect((await send(port, {path, headers: github(push, 'another key')})).status).toBe(202);
  await until(() => pushed.length > 0, 'the push to be told');
  expect(pushed).toEqual(['default/other']);
  await webhooks.follow([source(port)]);
  expect((await send(port, {path, headers: github(push, 'another key')})).status).toBe(404);
  await webhooks.follow([]);
  await expect(send(port, {})).rejects.toThrow();
});

test('a port that is taken is said once, and listened on when it is free', async () => {
  const {server, port} = await listen();
  const {webhooks, unavailable} = hooks({retryMs: 20});
  await webhooks.follow([source(port)]);
  await webhooks.follow([source(port)]);
  expect(unavailable).toEqual([expect.stringMatching(/^platform: cannot listen on 127.0.0.1:\d+: .*EADDRINUSE/)]);
  await new Promise(resolve => server.close(resolve));
  await until(
    async () => (await send(port, {headers: github()}).catch(() => undefined))?.status === 202,
    'it to listen',
  );
  expect(unavailable).toHaveLength(1);
});

test('without its secret nothing listens; a secret that goes later is missed', async () => {
  const port = await freePort();
  const {webhooks, secrets, unavailable} = hooks({retryMs: 20});
  secrets.clear();
  await webhooks.follow([source(port)]);
  expect(unavailable).toEqual([expect.stringContaining('the secret of the webhook is missing: HOOK is not set')]);
  await expect(send(port, {})).rejects.toThrow();
  secrets.set('HOOK', secret);
  await until(
    async () => (await send(port, {headers: github()}).catch(() => undefined))?.status === 202,
    'it to listen',
  );
  secrets.clear();
  expect((await send(port, {headers: github()})).status).toBe(401);
  await until(() => unavailable.length === 2, 'it to be said again');
});
