/** What a repository's notifications may do on this machine: nothing that leaves it, unless the operator says so. */
import {expect, test} from '@jest/globals';
import type {Problem} from '../../src/api/errors.js';
import type {Destination} from '../../src/api/notifications.js';
import type {PolicyRule} from '../../src/api/policy.js';
import {trustOf} from '../../src/api/trust.js';
import {checkPolicy} from '../../src/spec/policy-check.js';
import {loaded} from '../fakes/ports.js';
import {spec, webhook} from '../notify/support.js';

const url = 'https://git.example.com/acme/platform.git';

function check(to: Destination, rule: Omit<PolicyRule, 'match'> = {}): readonly Problem[] {
  const policy = {sources: [{match: {name: 'default/platform'}, ...rule}]};
  const trust = trustOf(policy, {name: 'default/platform', url, checkout: '/state/checkout'});
  const origin = {type: 'file', file: '/state/checkout/envs/dev.yaml', line: 7} as const;
  const fleet = loaded([], {notifications: [spec(to, {origin})]});
  return checkPolicy(fleet, {trust, policyFile: '/etc/policy.yaml'});
}

function problems(to: Destination, rule: Omit<PolicyRule, 'match'>): readonly string[] {
  return check(to, rule).map(({file, line, message}) => `${file}:${line}: ${message}`);
}

const hook = 'https://hooks.example.com/x';
const status = (more: object = {}): Destination => ({
  ...{type: 'commitStatus', provider: 'gitea', token: {env: 'KEY'}},
  ...more,
});
const command = (more: object = {}): Destination => ({
  type: 'command',
  argv: ['/usr/local/bin/notify', 'x'],
  timeoutSeconds: 1,
  env: {},
  ...more,
});

test.each<[Destination, Omit<PolicyRule, 'match'>, RegExp | undefined]>([
  [webhook(hook), {}, /may not speak to https:\/\/hooks\.example\.com$/],
  [webhook(hook), {hosts: ['hooks.example.com']}, undefined],
  [webhook('http://127.0.0.1:9'), {}, undefined],
  [webhook(hook, {headers: {A: {env: 'KEY'}}}), {hosts: ['hooks.example.com']}, /variable KEY may not be sent to/],
  [webhook(hook, {secret: {env: 'KEY'}}), {hosts: ['hooks.example.com']}, /variable KEY may not be sent to/],
  [webhook(hook, {headers: {A: {env: 'KEY'}}}), {secrets: [{env: 'KEY', hosts: ['hooks.example.com']}]}, undefined],
  [webhook('', {url: {env: 'URL'}}), {}, /variable URL may not be used for it/],
  [webhook('', {url: {env: 'URL'}}), {secrets: [{env: 'URL', use: ['webhook']}]}, undefined],
  [webhook('', {url: {env: 'URL'}}), {secrets: [{env: 'URL', use: ['env']}]}, /may not be used/],
  [
    webhook('', {url: {env: 'URL'}, headers: {A: {env: 'KEY'}}}),
    {secrets: [{env: 'URL', use: ['webhook']}]},
    /variable KEY may not be used for it/,
  ],
  [webhook('', {url: {file: '/state/checkout/url.txt'}}), {}, /address may not come from the file/],
  [webhook('', {url: {file: '/etc/hook'}}), {}, /file \/etc\/hook may not be used/],
  [status(), {}, /may not speak to https:\/\/git\.example\.com$/],
  [status(), {hosts: ['git.example.com']}, /variable KEY may not be sent to https:\/\/git\.example\.com$/],
  [status(), {secrets: [{env: 'KEY', hosts: ['git.example.com']}]}, undefined],
  [status({apiUrl: 'https://evil.example'}), {secrets: [{env: 'KEY', hosts: ['git.example.com']}]}, /may not speak to/],
  [command(), {}, /may not run \/usr\/local\/bin\/notify$/],
  [command(), {commands: ['/usr/local/bin/notify']}, undefined],
  [
    command({env: {A: {env: 'KEY'}}}),
    {commands: ['/usr/local/bin/notify']},
    /KEY may not go into a program's environment/,
  ],
  [command({env: {NODE_EXTRA_CA_CERTS: 'x'}}), {commands: ['/usr/local/bin/notify']}, /may not be set by a repository/],
  [{type: 'file', path: '/etc/cron.d/x'}, {}, /may not append to \/etc\/cron\.d\/x$/],
  [{type: 'file', path: '/var/log/x'}, {files: ['/var/log/x']}, undefined],
])('of a repository, %j under %j: %s', (to, rule, expected) => {
  const found = problems(to, rule);
  if (expected === undefined) return expect(found).toEqual([]);
  expect(found).toHaveLength(1);
  expect(found[0]).toMatch(/^envs\/dev\.yaml:7: notification `ops`: /);
  return expect(found[0]).toMatch(expected);
});

test('no rule is named that would allow an address with a user name in it: none does', () => {
  const found = check(webhook('https://ada@hooks.example.com/x'), {hosts: ['hooks.example.com']});
  expect(found).toEqual([
    expect.objectContaining({
      message: expect.stringContaining('may not speak to https://hooks.example.com'),
      hint: 'an address with a user name in it is never allowed',
    }),
  ]);
});
