import {afterEach, expect, test} from '@jest/globals';
import {commitStatusReasons, forgeOf, isNews, reportOf} from '../../src/api/commit-status.js';
import type {CommitState} from '../../src/api/commit-status.js';
import {eventReasons} from '../../src/api/events.js';
import type {CommitStatusDestination} from '../../src/api/notifications.js';
import type {FleetEvent} from '../../src/api/types.js';
import {aboutOf} from '../../src/notify/about.js';
import {tryCommitStatus} from '../../src/notify/commit-status.js';
import {Notifier} from '../../src/notify/notifier.js';
import {DeliverySecrets} from '../../src/notify/secrets.js';
import {event, Receiver, record, spec, world} from './support.js';

const open: {close(): unknown}[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

type Provider = CommitStatusDestination['provider'];
const [x, y] = ['a'.repeat(40), 'b'.repeat(40)];

test.each<[Provider, string, Partial<CommitStatusDestination>, string]>([
  ['github', 'https://github.com/acme/platform.git', {}, 'https://api.github.com acme/platform'],
  ['github', 'git@github.com:acme/platform.git', {}, 'https://api.github.com acme/platform'],
  ['github', 'ssh://git@github.com/acme/platform', {}, 'https://api.github.com acme/platform'],
  ['github', 'https://git.example.com:8443/acme/platform/', {}, 'https://git.example.com:8443/api/v3 acme/platform'],
  ['gitlab', 'https://gitlab.com/acme/infra/platform.git', {}, 'https://gitlab.com/api/v4 acme/infra/platform'],
  ['gitlab', 'ssh://git@gitlab.example.com:2222/a/b/c.git', {}, 'https://gitlab.example.com/api/v4 a/b/c'],
  ['gitea', 'http://127.0.0.1:3000/acme/platform.git', {}, 'http://127.0.0.1:3000/api/v1 acme/platform'],
  ['gitea', 'https://example.com/gitea/acme/platform', {}, 'https://example.com/gitea/api/v1 acme/platform'],
  [
    'gitea',
    'file:///srv/x.git',
    {repository: 'a/b', apiUrl: 'http://127.0.0.1:3000/api/v1/'},
    'http://127.0.0.1:3000/api/v1 a/b',
  ],
  [
    'github',
    'https://mirror.example.com/x.git',
    {repository: 'a/b', apiUrl: 'https://api.github.com'},
    'https://api.github.com a/b',
  ],
])('%s at %s with %j is %s', (provider, url, more, expected) => {
  const found = forgeOf({provider, ...more}, url);
  expect('api' in found ? `${found.api} ${found.repository}` : found.problem).toBe(expected);
});

test.each<[string | undefined, Partial<CommitStatusDestination>, RegExp]>([
  ['https://github.com/platform.git', {}, /set `repository`/],
  ['file:///srv/acme/platform.git', {}, /set `repository`/],
  ['/srv/acme/platform.git', {repository: 'a/b'}, /set `apiUrl`/],
  [undefined, {repository: 'a/b', apiUrl: 'https://api.github.com'}, /follows no git source/],
])('of a repository at %s with %j it says what is missing', (url, more, expected) => {
  const found = forgeOf({provider: 'github', ...more}, url);
  expect('problem' in found && found.problem).toMatch(expected);
});

test('says something of events that exist', () => {
  expect(commitStatusReasons.filter(reason => !(eventReasons as readonly string[]).includes(reason))).toEqual([]);
});

test('an event that names no commit, or is none of those, says nothing', () => {
  expect(reportOf(event('SourceInvalid'))).toBeUndefined();
  expect(reportOf(event('Exited', {revision: x}))).toBeUndefined();
  // Said of a commit that was rolled back, too, whose failure stays.
  expect(reportOf(event('Held', {revision: x}))).toBeUndefined();
});

test('a description is one line of 140 characters at most', () => {
  const report = reportOf(event('RolledBack', {revision: x, message: `a\n  b ${'😀'.repeat(200)}`}));
  expect([...(report?.description ?? '')]).toHaveLength(140);
  expect(report?.description).toMatch(/^a b 😀+…$/u);
});

test.each<[CommitState | undefined, string, CommitState, string, boolean]>([
  [undefined, '', 'success', 'a', true],
  ['pending', 'a', 'pending', 'b', false],
  ['pending', 'a', 'success', 'a', true],
  ['pending', 'a', 'failure', 'a', true],
  ['success', 'a', 'pending', 'b', false],
  ['success', 'a', 'success', 'b', false],
  ['success', 'a', 'failure', 'b', true],
  ['failure', 'a', 'failure', 'a', false],
  ['failure', 'a', 'failure', 'b', true],
  ['failure', 'a', 'pending', 'b', true],
  ['failure', 'a', 'success', 'b', true],
])('after %s %s, that it is %s %s is news: %s', (state, description, next, text, expected) => {
  const before = state && {commit: x, state, description};
  expect(isNews(before, {commit: x, state: next, description: text})).toBe(expected);
});

function fleetEvent(reason: string, more: Partial<FleetEvent>): FleetEvent {
  const {aiId: _, ...rest} = event(reason, {type: 'Normal', ...more});
  return rest;
}

async function setUp(provider: Provider, more: object = {}, ...answer: Parameters<typeof Receiver.listen>) {
  const forge = await Receiver.listen(...answer);
  open.push(forge);
  const deps = world();
  deps.secrets.set('TOKEN', 'a-secret-token');
  const api = provider === 'gitlab' ? '/api/v4' : '/api/v1';
  const to = {type: 'commitStatus', provider, apiUrl: `${forge.url}${api}`, token: {env: 'TOKEN'}, ...more} as const;
  const on = {reasons: commitStatusReasons, types: ['Normal', 'Warning']} as const;
  const url = 'https://forge.example/acme/infra.git';
  const source = {type: 'git', source: 'default/platform', url, path: '.'} as const;
  const fleet = record([spec(to, {on})], {source, revision: x});
  const failures: string[] = [];
  const notifier = new Notifier({
    deps,
    startedAt: '2026-01-01T00:05:00.000Z',
    failed: (_, message) => failures.push(message),
  });
  open.push(notifier);
  notifier.declare(fleet);
  return {forge, deps, notifier, failures, to, fleet};
}

test.each<[Provider, string, object, string, string]>([
  [
    'github',
    `/api/v1/repos/acme/infra/statuses/${x}`,
    {
      authorization: 'Bearer a-secret-token',
      accept: 'application/vnd.github+json',
      'x-github-api-version': '2022-11-28',
    },
    'context',
    'failure',
  ],
  ['gitlab', `/api/v4/projects/acme%2Finfra/statuses/${x}`, {'private-token': 'a-secret-token'}, 'name', 'failed'],
  ['gitea', `/api/v1/repos/acme/infra/statuses/${x}`, {authorization: 'token a-secret-token'}, 'context', 'failure'],
])('%s gets pending, success and failure at %s', async (provider, path, headers, label, failure) => {
  const {forge, notifier, failures} = await setUp(provider, {targetUrl: 'https://ops.example/x'}, (_, response) => {
    response.writeHead(201).end('{}');
  });
  notifier.notify([
    fleetEvent('SourceApplied', {revision: x, message: 'took over aaa: Change'}),
    fleetEvent('RevisionReady', {revision: x, message: 'all are Ready'}),
    event('CanaryFailed', {revision: x, message: 'answered nonsense'}),
  ]);
  await notifier.settle(60_000);
  expect(failures).toEqual([]);
  const common = {[label]: 'tekton-ai/dev', target_url: 'https://ops.example/x'};
  expect(forge.requests.map(({body}) => JSON.parse(body) as unknown)).toEqual([
    {...common, state: 'pending', description: 'took over aaa: Change'},
    {...common, state: 'success', description: 'all are Ready'},
    {...common, state: failure, description: 'answered nonsense'},
  ]);
  for (const request of forge.requests) {
    expect(request).toMatchObject({method: 'POST', path, headers: {...headers, 'content-type': 'application/json'}});
  }
});

test('a commit that was refused gets the failure, each thing is sent once, and after a 500 again', async () => {
  const {forge, notifier, failures} = await setUp('gitea', {}, (_, response, count) => {
    response.writeHead(count === 1 ? 500 : 201).end('{}');
  });
  const {fleet: _, ...refused} = fleetEvent('SourceInvalid', {revision: y, message: 'a.yaml:3:1: no'});
  const broken = {...refused, gitSource: 'default/platform'};
  notifier.notify([fleetEvent('RevisionReady', {revision: x}), broken, broken]);
  notifier.notify([fleetEvent('SourceApplied', {revision: x})]);
  await notifier.settle(60_000);
  expect(failures).toEqual([]);
  const sent = forge.requests.map(({path, body}) => [path.slice(-40), (JSON.parse(body) as {state: string}).state]);
  expect(sent).toEqual([
    [x, 'success'],
    [x, 'success'],
    [y, 'failure'],
  ]);
});

test("GitLab's refusal of what stands already is no failure, and any other is", async () => {
  const refusal = 'Cannot transition status via :enqueue from :pending';
  const {forge, notifier, failures} = await setUp('gitlab', {}, (_, response, count) => {
    response.writeHead(400).end(JSON.stringify({message: count === 1 ? refusal : 'a-secret-token is bad'}));
  });
  notifier.notify([fleetEvent('SourceApplied', {revision: x}), fleetEvent('SourceApplied', {revision: x})]);
  await notifier.settle(60_000);
  expect([forge.requests.length, failures]).toEqual([1, []]);
  notifier.notify([fleetEvent('RevisionReady', {revision: x})]);
  await notifier.settle(60_000);
  expect(failures).toEqual([expect.stringContaining('cannot notify ops (commitStatus, gitlab): 400 Bad Request')]);
  expect(failures[0]).not.toContain('a-secret-token');
});

test.each<[Provider, string]>([
  ['github', `/api/v1/repos/acme/infra/commits/${x}/statuses`],
  ['gitlab', `/api/v4/projects/acme%2Finfra/repository/commits/${x}/statuses`],
])('%s is tried by reading at %s, without a status', async (provider, path) => {
  const {forge, deps, to, fleet} = await setUp(provider);
  const secrets = new DeliverySecrets(deps, undefined);
  const {signal} = new AbortController();
  await tryCommitStatus(to, aboutOf(fleet), {clock: deps.clock, secrets, signal});
  expect(forge.requests).toMatchObject([{method: 'GET', path, body: ''}]);
});
