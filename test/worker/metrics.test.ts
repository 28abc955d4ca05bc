/** What Prometheus reads from a specialist. */
import {afterEach, expect, it} from '@jest/globals';
import {ProviderError} from '../../src/providers/provider.js';
import {bench} from './harness.js';
import type {Bench} from './harness.js';

let made: Bench;
afterEach(() => made.stop());

/** Sample with its labels, as written → value. */
async function scrape(): Promise<ReadonlyMap<string, number>> {
  const response = await fetch(`http://127.0.0.1:${made.worker.port}/metrics`);
  expect([response.status, response.headers.get('content-type')]).toEqual([
    200,
    'text/plain; version=0.0.4; charset=utf-8',
  ]);
  const lines = (await response.text()).split('\n').filter(line => line !== '' && !line.startsWith('#'));
  for (const line of lines) expect(line).toMatch(/^[a-z_]+\{[^}]*ai_id="athena-ai"[^}]*\} [-+.e\dInf]+$/);
  return new Map(lines.map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]));
}

function find(samples: ReadonlyMap<string, number>, name: string, ...labels: readonly string[]): number | undefined {
  const found = [...samples].filter(
    ([key]) => key.startsWith(`${name}{`) && labels.every(label => key.includes(label)),
  );
  expect(found.length).toBeLessThan(2);
  return found[0]?.[1];
}

it('begins with who it is and nothing done', async () => {
  made = await bench();
  const samples = await scrape();
  const labels = ['name="athena"', 'fleet="dev"', 'provider="hand"', 'model="m1"'];
  expect(find(samples, 'tekton_ai_info', ...labels)).toBe(1);
  expect(find(samples, 'tekton_ai_connections')).toBe(1);
  expect(find(samples, 'tekton_ai_chats_total')).toBeUndefined();
  expect(find(samples, 'tekton_ai_chats_cancelled_total')).toBe(0);
  expect(find(samples, 'process_resident_memory_bytes')).toBeGreaterThan(10_000_000);
  expect(made.provider.checks).toBe(0);
});

it('counts chats of both protocols, their tokens, errors and durations', async () => {
  made = await bench();
  const client = made.client();
  client.send({content: 'one'});
  (await made.provider.call(0)).end('answer', {inputTokens: 3, outputTokens: 5});
  await client.line();
  const url = `http://127.0.0.1:${made.worker.port}/v1/chat/completions`;
  const post = (): Promise<Response> =>
    fetch(url, {method: 'POST', body: '{"messages":[{"role":"user","content":"x"}]}'});
  const answered = post();
  (await made.provider.call(1)).end('answer', {inputTokens: 10, outputTokens: 20});
  await (await answered).text();
  const failed = post();
  (await made.provider.call(2)).fail(new ProviderError('busy', {code: 'bad_request', retryable: false}));
  expect((await failed).status).toBe(400);
  client.send({content: 'under way'});
  await made.provider.call(3);

  const samples = await scrape();
  const target = ['provider="hand"', 'model="m1"'];
  expect(find(samples, 'tekton_ai_chats_total', ...target)).toBe(2);
  expect(find(samples, 'tekton_ai_tokens_total', ...target, 'kind="input"')).toBe(13);
  expect(find(samples, 'tekton_ai_tokens_total', ...target, 'kind="output"')).toBe(25);
  expect(find(samples, 'tekton_ai_chat_errors_total', 'code="bad_request"')).toBe(1);
  expect(find(samples, 'tekton_ai_provider_errors_total', ...target, 'code="bad_request"')).toBe(1);
  expect(find(samples, 'tekton_ai_chats_active')).toBe(1);
  for (const name of ['tekton_ai_chat_duration_seconds', 'tekton_ai_first_token_seconds']) {
    expect(find(samples, `${name}_count`, ...target)).toBe(2);
    expect(find(samples, `${name}_bucket`, ...target, 'le="+Inf"')).toBe(2);
    expect(find(samples, `${name}_sum`, ...target)).toBeGreaterThan(0);
    const buckets = [...samples].filter(([key]) => key.startsWith(`${name}_bucket`)).map(([, count]) => count);
    expect(buckets).toEqual([...buckets].sort((a, b) => a - b));
  }
});
