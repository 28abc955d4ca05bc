import {createServer, type AddressInfo} from 'node:net';
import {afterEach, describe, expect, it, test} from '@jest/globals';
import {createAutoChooser, type AutoChoice, type AutoOptions, type AutoWish} from '../../src/providers/auto.js';
import {deadUrl, key, never} from '../contract/provider.js';
import type {ModelServer} from '../fakes/model-server.js';
import {startOllama, type FakeModel} from '../fakes/ollama-server.js';

const wanted = 'llama3.3:70b';
let server: ModelServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

/** Of one specialist alone. */
function chooseProvider(asked: AutoOptions & AutoWish, signal: AbortSignal): Promise<AutoChoice> {
  return createAutoChooser(asked).choose(asked, signal);
}

function options(ollamaUrl: string, apiKey?: string): AutoOptions {
  return {
    ollama: {name: 'ollama', type: 'ollama', baseUrl: ollamaUrl},
    anthropic: {
      name: 'anthropic',
      type: 'anthropic',
      ...(apiKey === undefined ? {missingSecret: 'ANTHROPIC_API_KEY'} : {apiKey, apiKeyFrom: 'ANTHROPIC_API_KEY'}),
    },
    anthropicModel: 'claude-sonnet-5-5',
  };
}

async function choose(models: readonly (string | FakeModel)[], modelDeclared = true, apiKey?: string) {
  server = await startOllama({models});
  return chooseProvider({...options(server.url, apiKey), wantedModel: wanted, modelDeclared}, never);
}

describe('auto', () => {
  it('takes the wanted model where Ollama has it', async () => {
    const {provider, model, choice} = await choose(['qwen2.5:72b', wanted]);
    expect(provider).toMatchObject({name: 'ollama', type: 'ollama', baseUrl: server?.url});
    expect(model).toBe(wanted);
    expect(choice).toEqual({
      provider: 'ollama',
      type: 'ollama',
      model: wanted,
      why: `Ollama at ${server?.url} has ${wanted}`,
    });
  });

  it('takes the largest installed model else, and names both where one was declared', async () => {
    const models = [
      {name: 'llama3.2:3b', parameterSize: '3.2B', sizeBytes: 2e9},
      {name: 'qwen2.5:14b', parameterSize: '14.8B', sizeBytes: 9e9},
      {name: 'tiny', parameterSize: '135M', sizeBytes: 9e10},
    ];
    const {model, choice} = await choose(models);
    expect(model).toBe('qwen2.5:14b');
    expect(choice.why).toBe(`Ollama at ${server?.url} has no ${wanted}; using qwen2.5:14b, the largest installed`);
    await server?.close();
    expect((await choose(models, false)).choice.why).toBe(
      `Ollama at ${server?.url} answers; using qwen2.5:14b, the largest installed`,
    );
  });

  it('goes by size on disk where parameters are not told, and by name in the end', async () => {
    expect(
      (
        await choose([
          {name: 'a', sizeBytes: 1e9},
          {name: 'b', sizeBytes: 2e9},
        ])
      ).model,
    ).toBe('b');
    await server?.close();
    expect((await choose(['b', 'a', 'c'])).model).toBe('a');
  });

  test.each<[string, FakeModel]>([
    ['a name', {name: 'mxbai-embed-large:latest', parameterSize: '334M'}],
    ['another name', {name: 'bge-m3:latest'}],
    ['a third name', {name: 'all-minilm:33m'}],
    ['the family', {name: 'vectors:latest', families: ['nomic-bert']}],
    [
      'being answered elsewhere',
      {name: 'gpt-oss:120b-cloud', parameterSize: '116.8B', remoteHost: 'https://ollama.com:443'},
    ],
  ])('does not take a model that %s tells is not for chats here', async (_by, unusable) => {
    const {provider, choice} = await choose([unusable]);
    expect(provider.type).toBe('offline');
    expect(choice.why).toContain(`Ollama at ${server?.url} has no model that can chat`);
    await server?.close();
    expect((await choose([unusable, 'llama3.2:1b'])).model).toBe('llama3.2:1b');
  });

  it('takes Anthropic where Ollama is not there and the key is set, and never tells the key', async () => {
    const url = await deadUrl();
    const {provider, model, choice} = await chooseProvider(
      {...options(url, key), wantedModel: wanted, modelDeclared: true},
      never,
    );
    expect(provider).toMatchObject({type: 'anthropic', apiKey: key});
    expect(model).toBe('claude-sonnet-5-5');
    expect(choice).toEqual({
      provider: 'anthropic',
      type: 'anthropic',
      model,
      why: `no Ollama at ${url}; ANTHROPIC_API_KEY is set`,
    });
  });

  it('keeps a declared Claude model with Anthropic', async () => {
    const wish = {wantedModel: 'claude-opus-5-5', modelDeclared: true};
    expect((await chooseProvider({...options(await deadUrl(), key), ...wish}, never)).model).toBe('claude-opus-5-5');
  });

  it('answers from the expertise where there is neither', async () => {
    const url = await deadUrl();
    expect(await chooseProvider({...options(url), wantedModel: wanted, modelDeclared: false}, never)).toEqual({
      provider: {name: 'offline', type: 'offline'},
      model: 'expertise',
      choice: {
        provider: 'offline',
        type: 'offline',
        model: 'expertise',
        why: `no Ollama at ${url}, ANTHROPIC_API_KEY is not set: answering from the embedded expertise`,
      },
    });
  });

  it('says what an Ollama that answers with errors said', async () => {
    server = await startOllama({models: [wanted]});
    server.refuse({status: 500, message: 'disk on fire'});
    const {provider, choice} = await chooseProvider(
      {...options(server.url), wantedModel: wanted, modelDeclared: false},
      never,
    );
    expect(provider.type).toBe('offline');
    expect(choice.why).toContain('failed (500): disk on fire');
  });

  it('does not wait for a server that accepts and says nothing', async () => {
    const silent = createServer(socket => socket.resume());
    await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`; // TCP, so never a string
    const {provider} = await chooseProvider({...options(url), wantedModel: wanted, modelDeclared: false}, never);
    expect(provider.type).toBe('offline');
    await new Promise(resolve => silent.close(resolve));
  }, 10_000);

  it('makes one request for a whole pass, and a new one for the next', async () => {
    server = await startOllama({models: [wanted]});
    const chooser = createAutoChooser(options(server.url));
    const wish = {wantedModel: wanted, modelDeclared: true};
    await Promise.all(Array.from({length: 100}, () => chooser.choose(wish, never)));
    expect(server.requests.map(({path}) => path)).toEqual(['/api/tags']);
    await createAutoChooser(options(server.url)).choose(wish, never);
    expect(server.requests).toHaveLength(2);
  });

  it('does not let one that leaves take the list from the others', async () => {
    server = await startOllama({models: [wanted]});
    const chooser = createAutoChooser(options(server.url));
    const cancel = new AbortController();
    const wish = {wantedModel: wanted, modelDeclared: true};
    const leaver = chooser.choose(wish, cancel.signal);
    const stayer = chooser.choose(wish, never);
    const reason = new Error('gone');
    cancel.abort(reason);
    await expect(leaver).rejects.toBe(reason);
    expect((await stayer).model).toBe(wanted);
  });
});
