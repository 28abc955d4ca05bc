/** Models that answer, fail and come back: the real client packages against servers that speak the true formats. */
import {readdir, readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {afterEach, expect, it} from '@jest/globals';
import {startAnthropic} from '../fakes/anthropic-server.js';
import type {ModelServer} from '../fakes/model-server.js';
import {pullSteps, startOllama} from '../fakes/ollama-server.js';
import {startOpenAi} from '../fakes/openai-server.js';
import {conditionText, isReady, sandboxes, until, type Sandbox} from './harness.js';

const sandbox = sandboxes();
const key = 'sk-ant-api03-e2eE2Ee2eE2Ee2eE2Ee2eE2Ee2eE2Ee2eE2E';

/** Of a port that nobody listens on. */
const nobody = 'http://127.0.0.1:1';

const servers: ModelServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function serve(starting: Promise<ModelServer>): Promise<ModelServer> {
  const server = await starting;
  servers.push(server);
  return server;
}

it('ends early with 3 and the address when Ollama is away, and is Ready without a restart when it is back', async () => {
  const box = await sandbox();
  const gone = await startOllama({models: ['llama3.3:70b']});
  await gone.close();
  await box.declare({
    providers: {ollama: {type: 'ollama', baseUrl: gone.url}},
    defaults: {provider: 'ollama', probes: {periodSeconds: 1}},
    specialists: ['athena'],
  });
  const begin = performance.now();
  const up = await box.run(['up', '--timeout', '60s']);
  expect(performance.now() - begin).toBeLessThan(15_000);
  expect(up.exitCode).toBe(3);
  expect(up.stderr).toContain('not Ready, and a person or a provider is needed:');
  expect(up.stderr).toMatch(new RegExp(`athena: ProviderUnreachable: .*${gone.url}`));
  const away = await box.item('athena');
  expect(conditionText(away, 'Live')).toMatch(/^True /);
  expect(conditionText(away, 'ModelAvailable')).toMatch(/^False ProviderUnreachable /);
  const chat = await box.run(['chat', 'athena', 'hello']);
  expect(chat).toMatchObject({exitCode: 1, stdout: ''});
  expect(chat.stderr).toContain(gone.url);

  const port = Number(new URL(gone.url).port);
  const back = await serve(startOllama({models: ['llama3.3:70b'], port}));
  const ready = await box.untilItem('athena', isReady);
  expect(ready.status).toMatchObject({restarts: 0, instance: {identity: away.status.instance?.identity}});
  expect((await box.ok(['chat', 'athena', 'are you there?'])).stdout).toBe('You said: are you there?\n');

  await back.close();
  await box.untilItem('athena', item => conditionText(item, 'Ready').startsWith('False ProviderUnreachable'));
});

it('fetches a model that two specialists want and Ollama lacks, once, and waits for it', async () => {
  const box = await sandbox();
  const models: string[] = [];
  const ollama = await serve(
    startOllama({
      models,
      reply: ({path, body}) => {
        if (path !== '/api/pull') return {};
        models.push(String(body['name']));
        return {chunks: pullSteps, chunkDelayMs: 200};
      },
    }),
  );
  await box.declare({
    providers: {ollama: {type: 'ollama', baseUrl: ollama.url}},
    defaults: {provider: 'ollama', model: 'llama3.2:3b', pull: 'IfNotPresent'},
    specialists: ['athena', 'hermes'],
  });
  const apply = await box.ok(['apply', '--wait', '--timeout', '60s']);
  expect(apply.stderr).toContain('llama3.2:3b: Pulling 50%\n');
  expect(apply.stderr).toMatch(/^athena: Ready on port \d+ ollama:llama3.2:3b$/m);
  expect(ollama.requests.filter(({path}) => path === '/api/pull')).toHaveLength(1);
  expect((await box.ok(['chat', 'hermes', 'hello'])).stdout).toBe('You said: hello\n');
});

it('streams a chat through the ollama package with the parameters of the specialist', async () => {
  const box = await sandbox();
  const ollama = await serve(startOllama({models: ['llama3.1:70b'], reply: {chunks: ['one ', 'two ', 'three']}}));
  await box.declare({
    providers: {ollama: {type: 'ollama', baseUrl: ollama.url}},
    defaults: {provider: 'ollama'},
    specialists: [{component: 'athena', model: 'llama3.1:70b', parameters: {temperature: 0.2, contextTokens: 8192}}],
  });
  await box.ok(['apply', '--wait']);
  const chat = await box.ok(['chat', 'athena', '-o', 'json', 'count']);
  expect(JSON.parse(chat.stdout)).toMatchObject({
    content: 'one two three',
    model: 'ollama:llama3.1:70b',
    usage: {input_tokens: 11, output_tokens: 7},
  });
  const [request] = ollama.requests.filter(({path}) => path === '/api/chat');
  expect(request?.body).toMatchObject({
    model: 'llama3.1:70b',
    stream: true,
    options: {temperature: 0.2, num_ctx: 8192},
    messages: [
      {role: 'system', content: expect.stringContaining('Athena')},
      {role: 'user', content: 'count'},
    ],
  });

  // The first part is printed while the rest is still to come.
  ollama.next({chunks: ['first ', 'last'], hangAfter: 1});
  const {subprocess, output} = box.start(['chat', 'athena', 'slowly']);
  await until('the first part', () => output.stdout === 'first ');
  subprocess.kill('SIGINT');
  expect((await subprocess).exitCode).toBe(130);
  const last = ollama.requests.at(-1);
  expect(await last?.cut).toBe(true);
});

it('names the command that pulls a model that Ollama does not have', async () => {
  const box = await sandbox();
  const ollama = await serve(startOllama({models: ['qwen2.5:7b']}));
  await box.declare({
    providers: {ollama: {type: 'ollama', baseUrl: ollama.url}},
    defaults: {provider: 'ollama'},
    specialists: ['athena'],
  });
  const apply = await box.run(['apply', '--wait']);
  expect(apply.exitCode).toBe(3);
  expect(apply.stderr).toMatch(/athena: ModelNotFound: .*ollama pull llama3\.3:70b/);
  const athena = await box.item('athena');
  expect(conditionText(athena, 'Live')).toMatch(/^True /);
});

it('says which variable to set for a missing key, and that a key was refused', async () => {
  const box = await sandbox();
  const anthropic = await serve(startAnthropic({models: ['claude-sonnet-4-5']}));
  await box.declare({
    providers: {claude: {type: 'anthropic', baseUrl: anthropic.url, apiKey: {env: 'CLAUDE_KEY'}}},
    defaults: {provider: 'claude', model: 'claude-sonnet-4-5'},
    specialists: ['athena'],
  });
  const missing = await box.run(['apply', '--wait']);
  expect(missing.exitCode).toBe(3);
  expect(missing.stderr).toMatch(/athena: SecretMissing: .*CLAUDE_KEY/);

  anthropic.refuse({status: 401, kind: 'authentication_error', message: `invalid x-api-key ${key}`});
  const refused = await box.run(['apply', '--wait'], {env: {CLAUDE_KEY: key}});
  expect(refused.exitCode).toBe(3);
  expect(refused.stderr).toMatch(/athena: Unauthorized: .*CLAUDE_KEY/);
  expect(refused.stderr).not.toContain(key);
});

it('speaks through the Anthropic package, and shows its key to nobody else', async () => {
  const box = await sandbox();
  const anthropic = await serve(startAnthropic({models: ['claude-sonnet-4-5'], reply: {chunks: ['Good ', 'day']}}));
  await box.declare({
    providers: {anthropic: {type: 'anthropic', baseUrl: anthropic.url, apiKey: {env: 'ANTHROPIC_API_KEY'}}},
    defaults: {provider: 'anthropic', model: 'claude-sonnet-4-5'},
    specialists: ['athena'],
  });
  await box.ok(['up'], {env: {ANTHROPIC_API_KEY: key}});
  const chat = await box.ok(['chat', 'athena', 'hello']);
  expect(chat.stdout).toBe('Good day\n');
  const [request] = anthropic.requests.filter(({path}) => path.startsWith('/v1/messages'));
  expect(request?.headers['x-api-key']).toBe(key);

  anthropic.next({refusal: {status: 401, kind: 'authentication_error', message: `invalid x-api-key ${key}`}});
  const refused = await box.run(['chat', 'athena', 'hello again']);
  expect(refused.exitCode).toBe(1);
  const shown = [refused.stderr];
  for (const args of [['get', '-o', 'yaml'], ['describe', 'athena'], ['logs', 'athena'], ['events'], ['status']]) {
    const {stdout, stderr} = await box.ok(args);
    shown.push(stdout, stderr);
  }
  for (const pid of await box.processes()) shown.push(await readFile(`/proc/${pid}/cmdline`, 'utf8'));
  expect(shown.filter(text => text.includes(key))).toEqual([]);
  expect(await filesWith(box, key)).toEqual([]);
});

it('speaks to an OpenAI-compatible server with a key from a file', async () => {
  const box = await sandbox();
  const openai = await serve(startOpenAi({models: ['qwen3:32b']}));
  await box.write('lab.key', `${key}\n`);
  await box.declare({
    providers: {lab: {type: 'openai', baseUrl: `${openai.url}/v1`, apiKey: {file: './lab.key'}}},
    defaults: {provider: 'lab', model: 'qwen3:32b'},
    specialists: ['athena'],
  });
  await box.ok(['apply', '--wait']);
  expect((await box.ok(['chat', 'athena', 'hello'])).stdout).toBe('You said: hello\n');
  const [request] = openai.requests.filter(({path}) => path.endsWith('/chat/completions'));
  expect(request?.headers.authorization).toBe(`Bearer ${key}`);
  expect(await filesWith(box, key)).toEqual([]);
});

it('picks by itself: Ollama with a model, else Anthropic with a key, else the embedded answers, and says why', async () => {
  const box = await sandbox();
  const ollama = await serve(startOllama({models: ['qwen2.5:7b']}));
  const specialists = ['athena'];
  await box.declare({
    providers: {auto: {type: 'auto', baseUrl: ollama.url}},
    defaults: {provider: 'auto'},
    specialists,
  });
  await box.ok(['apply', '--wait']);
  const first = await box.item('athena');
  expect(first.status.model).toMatchObject({type: 'ollama', model: 'qwen2.5:7b'});
  expect(first.status.model?.why).toMatch(/answers; using qwen2\.5:7b/);
  expect((await box.ok(['chat', 'athena', 'hello'])).stdout).toBe('You said: hello\n');

  await box.declare({providers: {auto: {type: 'auto', baseUrl: nobody}}, defaults: {provider: 'auto'}, specialists});
  await box.ok(['apply', '--wait']);
  const second = await box.item('athena');
  expect(second.status.model).toMatchObject({type: 'offline', model: 'expertise'});
  expect(second.status.model?.why).toMatch(/no Ollama at .*127\.0\.0\.1:1.*ANTHROPIC_API_KEY is not set/);
  expect(second.status.instance).toEqual(first.status.instance);
  expect((await box.ok(['chat', 'athena', 'hello'])).stdout).toContain('No model is connected');
});

it('plays scripted answers and faults', async () => {
  const box = await sandbox();
  await box.write(
    'answers.yaml',
    [
      'rules:',
      "  - {match: '^deploy (\\w+)', reply: '{{component}} deploys nothing on Fridays.'}",
      '  - {contains: fail, chunks: [one, two], error: {code: overloaded, message: come back later, afterChunks: 1}}',
    ].join('\n'),
  );
  await box.declare({
    providers: {play: {type: 'scripted', script: './answers.yaml'}},
    defaults: {provider: 'play'},
    specialists: ['athena'],
  });
  await box.ok(['apply', '--wait']);
  expect((await box.ok(['chat', 'athena', 'deploy it'])).stdout).toBe('athena deploys nothing on Fridays.\n');
  const fault = await box.run(['chat', 'athena', 'please fail']);
  expect(fault.exitCode).toBe(1);
  expect(fault.stdout).toBe('one\n');
  expect(fault.stderr).toContain('come back later');
});

/** Files below the state folder that hold `text`. */
async function filesWith(box: Sandbox, text: string): Promise<readonly string[]> {
  const entries = await readdir(box.home, {recursive: true, withFileTypes: true});
  const files = entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name));
  const found = await Promise.all(files.map(async file => ((await readFile(file)).includes(text) ? [file] : [])));
  expect(files.length).toBeGreaterThan(5);
  return found.flat();
}
