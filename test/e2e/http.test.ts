/** Specialists that `up` has started, asked by a plain HTTP client and by OpenAI's own. */
import {expect, test} from '@jest/globals';
import OpenAI from 'openai';
import {sandboxes, until} from './harness.js';

const sandbox = sandboxes();

const script = `
rules:
  - {contains: weather, chunks: ['It ', 'rains.'], inputTokens: 12, outputTokens: 3}
  - {contains: busy, chunks: [x], error: {code: quota_exceeded, message: too many, retryable: true, retryAfterMs: 1500}}
`;

test('answers HTTP and the openai package on the port that it is registered with', async () => {
  const place = await sandbox();
  await place.write('answers.yaml', script);
  await place.declare({
    providers: {lab: {type: 'scripted', script: './answers.yaml'}},
    defaults: {provider: 'lab', model: 'm1'},
    specialists: ['athena'],
  });
  await place.ok(['up']);
  await until('its entry', () => place.registry()['athena-ai'] !== undefined);
  const base = `http://${place.host}:${place.registry()['athena-ai']?.port}`;

  const ready = await fetch(`${base}/readyz`);
  expect([ready.status, await ready.json()]).toEqual([200, {ai_id: 'athena-ai', status: 'healthy'}]);

  const ai = new OpenAI({baseURL: `${base}/v1`, apiKey: 'none', maxRetries: 0});
  expect((await ai.models.list()).data).toMatchObject([{id: 'athena-ai', root: 'lab:m1'}]);
  const ask = (content: string): OpenAI.ChatCompletionMessageParam[] => [{role: 'user', content}];
  const stream = ai.chat.completions.stream({
    model: 'athena',
    messages: ask('How is the weather?'),
    stream_options: {include_usage: true},
  });
  expect(await stream.finalContent()).toBe('It rains.');
  expect(await stream.totalUsage()).toMatchObject({prompt_tokens: 12, completion_tokens: 3});
  await expect(ai.chat.completions.create({model: 'athena', messages: ask('busy?')})).rejects.toMatchObject({
    status: 429,
    code: 'rate_limit_exceeded',
  });
});
