/** A specialist whose own model dies and comes back, while a fallback with few slots answers in its place. */
import {readdir} from 'node:fs/promises';
import {join} from 'node:path';
import {afterEach, expect, it} from '@jest/globals';
import type {ModelServer} from '../fakes/model-server.js';
import {startOllama} from '../fakes/ollama-server.js';
import {startOpenAi} from '../fakes/openai-server.js';
import {conditionText, isReady, sandboxes, type Sandbox} from './harness.js';

const sandbox = sandboxes();

const servers: ModelServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function serve(starting: Promise<ModelServer>): Promise<ModelServer> {
  const server = await starting;
  servers.push(server);
  return server;
}

async function chat(box: Sandbox, name: string): Promise<Record<string, unknown>> {
  return JSON.parse((await box.ok(['chat', name, '-o', 'json', 'hello'])).stdout) as Record<string, unknown>;
}

it('stays Ready by its fallback while its own server is away, and goes back to it, without a restart', async () => {
  const box = await sandbox();
  const first = await serve(startOllama({models: ['small'], reply: {chunks: ['from the first']}}));
  const second = await serve(startOpenAi({models: ['big'], reply: {chunks: ['from the second']}}));
  await box.declare({
    providers: {
      ollama: {type: 'ollama', baseUrl: first.url},
      lab: {type: 'openai', baseUrl: `${second.url}/v1`, maxConcurrency: 1},
    },
    defaults: {
      provider: 'ollama',
      model: 'small',
      fallback: [{provider: 'lab', model: 'big'}],
      probes: {periodSeconds: 1},
    },
    specialists: ['athena', 'hermes'],
  });
  await box.ok(['up', '--timeout', '60s']);
  expect(await chat(box, 'athena')).toMatchObject({content: 'from the first', model: 'ollama:small'});
  const {instance} = (await box.item('athena')).status;

  await first.close();
  expect(await chat(box, 'athena')).toMatchObject({
    content: 'from the second',
    model: 'lab:big',
    fallback: {from: 'ollama:small', reason: 'provider_unreachable'},
  });
  const away = await box.untilItem('athena', item => conditionText(item, 'Ready').startsWith('True Fallback'));
  expect(conditionText(away, 'ModelAvailable')).toMatch(new RegExp(`^False ProviderUnreachable .*${first.url}`));
  expect((await box.ok(['get', 'athena'])).stdout).toContain('Ready (fallback)');
  // Two workers before one slot: both are answered, and no ticket is left.
  const [a, b] = await Promise.all([chat(box, 'athena'), chat(box, 'hermes')]);
  expect([a['content'], b['content']]).toEqual(['from the second', 'from the second']);
  const lines = await readdir(join(box.home, 'run', 'slots'));
  expect(lines).toEqual([encodeURIComponent(second.url.replace('127.0.0.1', 'localhost'))]);
  expect(await readdir(join(box.home, 'run', 'slots', lines[0] ?? ''))).toEqual([]);

  const port = Number(new URL(first.url).port);
  await serve(startOllama({models: ['small'], port, reply: {chunks: ['back again']}}));
  const back = await box.untilItem(
    'athena',
    item => isReady(item) && conditionText(item, 'Ready').startsWith('True Ready'),
  );
  expect(back.status).toMatchObject({restarts: 0, instance: {identity: instance?.identity}});
  const reply = await chat(box, 'athena');
  expect(reply).toMatchObject({content: 'back again', model: 'ollama:small'});
  expect(reply).not.toHaveProperty('fallback');
  const events = (await box.ok(['events'])).stdout;
  expect(events).toContain('FellBack');
  expect(events).toContain('ModelRecovered');
});
