import {afterEach, beforeEach, describe, expect, it, test} from '@jest/globals';
import {createOllamaProvider} from '../../src/providers/ollama.js';
import {ProviderError, type PullProgress} from '../../src/providers/provider.js';
import {deadUrl, never, until} from '../contract/provider.js';
import type {ModelServer, SeenRequest} from '../fakes/model-server.js';
import {pullSteps, startOllama} from '../fakes/ollama-server.js';

const model = 'llama3.3:70b';
let server: ModelServer;

beforeEach(async () => {
  server = await startOllama({models: []});
});
afterEach(() => server.close());

function pull(name = model, signal: AbortSignal = never, baseUrl = server.url): AsyncIterable<PullProgress> {
  const provider = createOllamaProvider({name: 'ollama', type: 'ollama', baseUrl});
  if (!provider.pull) throw new Error('Ollama can pull');
  return provider.pull(name, signal);
}

async function failure(steps: AsyncIterable<PullProgress>): Promise<ProviderError> {
  const error = await all(steps).then(
    () => 'it ended well',
    (thrown: unknown) => thrown,
  );
  if (error instanceof ProviderError) return error;
  throw error;
}

async function all(steps: AsyncIterable<PullProgress>): Promise<PullProgress[]> {
  const seen: PullProgress[] = [];
  for await (const step of steps) seen.push(step);
  return seen;
}

const pulls = (): readonly SeenRequest[] => server.requests.filter(({path}) => path === '/api/pull');

describe('a pull', () => {
  it('counts all layers together', async () => {
    const step = (digest: string, total: number, completed: number) =>
      JSON.stringify({status: `pulling ${digest}`, digest, total, completed});
    server.next({chunks: [step('a', 900, 900), step('b', 100, 0), step('b', 100, 60)]});
    expect((await all(pull())).map(({completedBytes, totalBytes}) => [completedBytes, totalBytes])).toEqual([
      [900, 900],
      [900, 1000],
      [960, 1000],
      [undefined, undefined],
    ]);
  });

  it("tells the server's steps, with bytes while a layer is fetched, and ends when the model is there", async () => {
    server.next({chunks: pullSteps});
    const totalBytes = 5_000_000_000;
    expect(await all(pull())).toEqual([
      {status: 'pulling manifest'},
      {status: 'pulling dde5aa3fc5ff', totalBytes, completedBytes: 0},
      {status: 'pulling dde5aa3fc5ff', totalBytes, completedBytes: 2_500_000_000},
      {status: 'pulling dde5aa3fc5ff', totalBytes, completedBytes: 5_000_000_000},
      {status: 'verifying sha256 digest'},
      {status: 'writing manifest'},
      {status: 'success'},
    ]);
  });

  it('asks for the name without its digest, for the registry knows tags only', async () => {
    server.next({chunks: []});
    await all(pull(`${model}@sha256:${'0a'.repeat(32)}`));
    expect(pulls()[0]?.body).toMatchObject({name: model, stream: true});
  });

  it('stops at the server when it is aborted, and when its reader leaves', async () => {
    server.next({chunks: pullSteps, hangAfter: 2}, {chunks: pullSteps, hangAfter: 2});
    const cancel = new AbortController();
    const reason = new Error('nobody wants it any more');
    const steps = pull(model, cancel.signal)[Symbol.asyncIterator]();
    await steps.next();
    await steps.next();
    const more = steps.next();
    cancel.abort(reason);
    await expect(more).rejects.toBe(reason);
    expect(await pulls()[0]?.cut).toBe(true);
    for await (const _ of pull()) break;
    expect(await pulls()[1]?.cut).toBe(true);
  });

  it('can be aborted before the server has said anything', async () => {
    server.next({silent: true});
    const cancel = new AbortController();
    const reason = new Error('nobody wants it any more');
    const more = all(pull(model, cancel.signal));
    await until(() => pulls().length === 1);
    cancel.abort(reason);
    await expect(more).rejects.toBe(reason);
    expect(await pulls()[0]?.cut).toBe(true);
  });

  // As Ollama words them: server/images.go, server/download.go, and what the system adds.
  test.each([
    ['pull model manifest: file does not exist', 'model_not_found', false, 'https://ollama.com/library'],
    ['invalid model name', 'model_not_found', false, 'no name of a model'],
    [
      'write /root/.ollama/models/blobs/sha256-29fd-partial: no space left on device',
      'provider_error',
      false,
      'no space is left on its disk',
    ],
    [
      'pull model manifest: 412: The model you are attempting to pull requires a newer version of Ollama.',
      'provider_error',
      false,
      'needs a newer version of Ollama',
    ],
    ['max retries exceeded: unexpected EOF', 'provider_error', true, 'max retries exceeded: unexpected EOF'],
  ])('tells what %j means', async (message, code, retryable, said) => {
    server.next({chunks: pullSteps, errorAfter: {chunks: 1, kind: '', message}});
    const error = await failure(pull());
    expect(error).toMatchObject({code, retryable});
    expect(error.message).toContain(said);
    expect(error.message).toContain(`Ollama at ${server.url}`);
  });

  it('keeps the signature of an address out of what it tells', async () => {
    const message = 'max retries exceeded: Get "https://blobs.example/data?X-Amz-Signature=5e1f": server misbehaving';
    server.next({chunks: [], errorAfter: {chunks: 0, kind: '', message}});
    const error = await failure(pull());
    expect(error.message).toContain('https://blobs.example/data"');
    expect(error.message).not.toContain('X-Amz');
  });

  it('that breaks off, or ends before the model is there, has failed', async () => {
    server.next({chunks: pullSteps, breakAfter: 2}, {chunks: pullSteps, stopShortAfter: 3});
    expect(await failure(pull())).toMatchObject({code: 'provider_error', retryable: true});
    expect(await failure(pull())).toMatchObject({code: 'provider_error', retryable: true});
  });

  it('says that no server is there', async () => {
    expect(await failure(pull(model, never, await deadUrl()))).toMatchObject({code: 'provider_unreachable'});
  });
});
