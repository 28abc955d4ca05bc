import {expect, test} from '@jest/globals';
import {globMatches} from '../../src/api/glob.js';
import type {NotificationFilter} from '../../src/api/notifications.js';
import {kindOfContent, render, templateProblem, viewOf} from '../../src/api/template.js';
import type {FleetEvent} from '../../src/api/types.js';
import {judgeStatus} from '../../src/notify/http.js';
import {matches} from '../../src/notify/match.js';
import {event} from './support.js';

test.each([
  ['CrashLoop', 'CrashLoop', true],
  ['CrashLoop', 'CrashLoops', false],
  ['Source*', 'SourceInvalid', true],
  ['*Invalid', 'SourceInvalid', true],
  ['*ce*al*', 'SourceInvalid', true],
  ['a*a', 'a', false],
  ['*', '', true],
  ['a.c', 'abc', false],
])('the pattern %s means %s: %s', (pattern, name, expected) => {
  expect(globMatches(pattern, name)).toBe(expected);
});

const both = ['Normal', 'Warning'] as const;

test.each<[NotificationFilter, FleetEvent, boolean]>([
  [{types: ['Warning']}, event('Exited'), true],
  [{types: ['Warning']}, event('Launched', {type: 'Normal'}), false],
  [{types: both, reasons: ['Re*']}, event('Relaunched', {type: 'Normal'}), true],
  [{types: both, reasons: ['Re*']}, event('Exited'), false],
  [{types: both, specialists: ['ath*']}, event('Exited'), true],
  [{types: both, specialists: ['apollo']}, event('Exited'), false],
  [{types: both, specialists: ['lab']}, event('Exited', {namespace: 'qa', aiId: 'qa.lab-ai'}), true],
  [{types: both, specialists: ['tekton-core']}, event('Exited', {aiId: 'tekton_core-ai'}), true],
  [{types: both, specialists: ['*']}, fleetEvent(), false],
  [{types: both}, fleetEvent(), true],
  [{types: both, reasons: ['*']}, event('NotificationFailed'), false],
])('%j is told of %j: %s', (filter, happened, expected) => {
  expect(matches(filter, happened)).toBe(expected);
});

function fleetEvent(): FleetEvent {
  const {aiId: _, ...rest} = event('SourceInvalid');
  return rest;
}

test.each([
  [200, null, {ok: true, retry: false}],
  [204, null, {ok: true, retry: false}],
  [301, null, {ok: false, retry: false}],
  [400, null, {ok: false, retry: false}],
  [401, '5', {ok: false, retry: false}],
  [403, null, {ok: false, retry: false}],
  [403, '60', {ok: false, retry: true, afterMs: 60_000}],
  [404, null, {ok: false, retry: false}],
  [408, null, {ok: false, retry: true}],
  [425, null, {ok: false, retry: true}],
  [429, '3', {ok: false, retry: true, afterMs: 3000}],
  [429, 'Thu, 01 Jan 1970 00:00:05 GMT', {ok: false, retry: true, afterMs: 4000}],
  [429, 'Thu, 01 Jan 1970 00:00:00 GMT', {ok: false, retry: true, afterMs: 0}],
  [429, 'soon', {ok: false, retry: true}],
  [503, '86400', {ok: false, retry: true, afterMs: 120_000}],
  [500, null, {ok: false, retry: true}],
])('the answer %i with Retry-After %s is judged %j', (status, retryAfter, expected) => {
  expect(judgeStatus(status, retryAfter, 1000)).toEqual(expected);
});

test.each([
  ['application/json; charset=utf-8', 'json'],
  ['application/vnd.acme+json', 'json'],
  ['text/plain', 'text'],
  ['text/html', 'html'],
  ['application/atom+xml', 'html'],
  ['application/x-www-form-urlencoded', 'form'],
] as const)('a body of type %s is %s', (type, kind) => {
  expect(kindOfContent(type)).toBe(kind);
});

test.each([
  ['json', '{"t":"{{message}}"}', '{"t":"a \\"b\\" <c> & d\\n"}'],
  ['text', '{{message}}', 'a "b" <c> & d\n'],
  ['html', '<p>{{message}}</p>', '<p>a &quot;b&quot; &lt;c&gt; &amp; d\n</p>'],
  ['form', 'text={{message}}', 'text=a%20%22b%22%20%3Cc%3E%20%26%20d%0A'],
  ['text', '{{#leftOut}}+{{leftOut}} {{/leftOut}}{{specialist}} {{fleet}}', '+4 athena dev'],
  ['text', '{{^revision}}no revision{{/revision}}', 'no revision'],
  ['text', '{{{event}}}', JSON.stringify({...event('Exited', {message: 'a "b" <c> & d\n'}), leftOut: 4})],
] as const)('as %s the template %s makes %s', async (kind, template, expected) => {
  const view = viewOf(event('Exited', {message: 'a "b" <c> & d\n'}), 4);
  expect(await render(template, view, kind)).toBe(expected);
});

test.each([
  ['json', '{"t": "{{reason}}"}', undefined],
  ['json', '{{{event}}}', undefined],
  ['json', '{"t": {{reason}}}', /^what the template makes is not JSON/],
  ['json', '{"t": {{leftOut}}}', /not JSON/],
  ['text', '{{#reason}}open', /no Mustache template: Unclosed section "reason"/],
  ['text', '{{reson}}', /has `reson`; there are at, type, reason/],
  ['text', '{{#specialist}}{{nmae}}{{/specialist}}', /has `nmae`/],
  ['text', '{{! a remark }}{{reason}}', undefined],
] as const)('of %s, %s is said: %s', async (kind, template, expected) => {
  const problem = await templateProblem(template, kind);
  if (expected === undefined) expect(problem).toBeUndefined();
  else expect(problem).toMatch(expected);
});
