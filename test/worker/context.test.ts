import {describe, expect, it, test} from '@jest/globals';
import fc from 'fast-check';
import type {ModelCheck, OverflowPolicy} from '../../src/api/types.js';
import {estimateTokens} from '../../src/providers/estimate.js';
import type {ChatMessage, ChatRequest, Provider} from '../../src/providers/provider.js';
import {ContextLengthError, fit} from '../../src/worker/context.js';
import type {Fitted} from '../../src/worker/context.js';
import {bench, HandProvider} from './harness.js';

const never = new AbortController().signal;

interface Case {
  readonly request: ChatRequest;
  readonly provider?: Partial<Provider>;
  readonly check?: ModelCheck;
  readonly overflow?: OverflowPolicy;
  readonly signal?: AbortSignal;
}

function fitting({request, provider = {}, check, overflow, signal = never}: Case): Promise<Fitted> {
  const whole: Provider = {
    check: async () => new Map(),
    chat: () => new HandProvider().chat(request, never),
    ...provider,
  };
  const target = {model: 'm1', providerName: 'lab', provider: async () => whole};
  return fit(request, {target, check, overflow, signal});
}

/** Of about so many tokens by estimate. */
function asking(words: number, parameters: ChatRequest['parameters'] = {}, before: ChatMessage[] = []): ChatRequest {
  return {
    model: 'm1',
    system: 'Be brief.',
    messages: [...before, {role: 'user', content: 'word '.repeat(words)}],
    parameters,
  };
}

async function failure(promise: Promise<unknown>): Promise<ContextLengthError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ContextLengthError);
  return error as ContextLengthError;
}

describe('a prompt that is too long', () => {
  it('is an error that says by how much, and that this is an estimate', async () => {
    const request = asking(1000, {contextTokens: 800});
    const tokens = estimateTokens(request);
    const {code, retryable, message, excess, excessTokens} = await failure(fitting({request}));
    expect({code, retryable, excessTokens, excess}).toEqual({
      code: 'context_length_exceeded',
      retryable: false,
      excessTokens: tokens + 100 - 800,
      excess: {promptTokens: tokens, estimated: true, windowTokens: 800, answerTokens: 100},
    });
    expect(message).toBe(
      `the prompt is too long for lab:m1: it has about ${tokens} tokens (an estimate), ${tokens - 700} more than the ` +
        'context window of 800 takes with 100 kept free for the answer; shorten the conversation, set overflow: ' +
        'trimOldest, or use a larger window (parameters.contextTokens) or model',
    );
  });

  it('is judged by the provider’s own count where it has one', async () => {
    const request = asking(1000, {contextTokens: 800});
    const fits = await fitting({request, provider: {countTokens: async () => 700}});
    expect(fits).toEqual({request, trimmed: 0});
    const {message} = await failure(fitting({request, provider: {countTokens: async () => 701}}));
    expect(message).toContain('it has 701 tokens, 1 more than the context window of 800 takes with 100 kept free');
  });

  test.each<[string, Partial<Provider>]>([
    ['fails', {countTokens: () => Promise.reject(new Error('count failed'))}],
    [
      'throws at once',
      {
        countTokens: () => {
          throw new Error('no');
        },
      },
    ],
    ['does not know', {countTokens: async () => undefined}],
  ])('is judged by the estimate where the count %s', async (_, provider) => {
    const {excess} = await failure(fitting({request: asking(1000, {contextTokens: 800}), provider}));
    expect(excess.estimated).toBe(true);
  });

  it('is not judged for a client that has gone', async () => {
    const left = new AbortController();
    const provider = {
      countTokens: () => {
        left.abort(new Error('gone'));
        return Promise.reject(new Error('x'));
      },
    };
    await expect(fitting({request: asking(1000, {contextTokens: 800}), provider, signal: left.signal})).rejects.toThrow(
      'gone',
    );
  });

  test.each([
    ['what the answer may take', {maxTokens: 300}, 300],
    ['half of the window at most', {maxTokens: 5000}, 400],
    ['some of it', {}, 100],
  ])('leaves %s to the answer', async (_, parameters, answerTokens) => {
    const {excess} = await failure(fitting({request: asking(1000, {contextTokens: 800, ...parameters})}));
    expect(excess.answerTokens).toBe(answerTokens);
  });
});

describe('the window', () => {
  const long = asking(3000);

  it('is what is declared, then what the provider will ask for, then what is known of the model', async () => {
    const provider = {contextTokens: async () => 2000};
    const check: ModelCheck = {available: true, contextTokens: 1000};
    const windowOf = async (one: Case): Promise<number> => (await failure(fitting(one))).excess.windowTokens;
    expect(await windowOf({request: asking(3000, {contextTokens: 500}), provider, check})).toBe(500);
    expect(await windowOf({request: long, provider, check})).toBe(2000);
    expect(await windowOf({request: long, check})).toBe(1000);
  });

  it('is looked up once where nobody knows it, and for long prompts only', async () => {
    let looks = 0;
    const check = async (): Promise<ReadonlyMap<string, ModelCheck>> => {
      looks++;
      return new Map([['m1', {available: true, contextTokens: 1500} as const]]);
    };
    const whole: Provider = {check, chat: () => new HandProvider().chat(long, never)};
    const target = {
      model: 'm1',
      providerName: 'lab',
      provider: async () => whole,
    };
    const options = {target, check: {available: true} as const, overflow: undefined, signal: never};
    await fit(asking(100), options);
    expect(looks).toBe(0);
    await failure(fit(long, options));
    await failure(fit(long, options));
    expect(looks).toBe(1);
  });

  test.each<[string, Partial<Provider>]>([
    ['does not say', {check: async () => new Map([['m1', {available: true}]])}],
    ['cannot be asked', {check: () => Promise.reject(new Error('down'))}],
  ])('of a server that %s is not guessed: the prompt is sent as it is', async (_, provider) => {
    expect(await fitting({request: asking(100_000), provider})).toEqual({request: asking(100_000), trimmed: 0});
  });

  it('costs no request for a prompt that is far below it', async () => {
    const provider = {countTokens: () => Promise.reject(new Error('asked'))};
    const request = asking(400, {contextTokens: 1000});
    expect(await fitting({request, provider, check: {available: true}})).toEqual({request, trimmed: 0});
  });
});

describe('overflow: trimOldest', () => {
  const turns = (count: number, words: number): ChatMessage[] =>
    Array.from({length: count}, (_, n): ChatMessage[] => [
      {role: 'user', content: `q${n}${' word'.repeat(words)}`},
      {role: 'assistant', content: `a${n}`},
    ]).flat();

  it('leaves out the oldest exchanges and says how many messages that were', async () => {
    const request = asking(10, {contextTokens: 1000}, turns(10, 100));
    const {request: sent, trimmed} = await fitting({request, overflow: 'trimOldest'});
    expect(trimmed).toBe(request.messages.length - sent.messages.length);
    expect(sent).toEqual({...request, messages: request.messages.slice(trimmed)});
    expect(trimmed).toBeGreaterThan(0);
    expect(estimateTokens(sent)).toBeLessThanOrEqual(875);
  });

  it('goes by the provider’s count, however far that is from the estimate', async () => {
    const request = asking(10, {contextTokens: 1000}, turns(40, 100));
    let counts = 0;
    const countTokens = async (asked: ChatRequest): Promise<number> => {
      counts++;
      return Math.ceil(estimateTokens(asked) / 3);
    };
    const {request: sent, trimmed} = await fitting({request, overflow: 'trimOldest', provider: {countTokens}});
    expect(await countTokens(sent)).toBeLessThanOrEqual(875);
    expect(await countTokens({...request, messages: request.messages.slice(trimmed - 4)})).toBeGreaterThan(875);
    expect(counts).toBeLessThan(7);
  });

  it('is an error when the last message alone does not fit', async () => {
    const request = asking(2000, {contextTokens: 1000}, turns(3, 10));
    const {message, excess} = await failure(fitting({request, overflow: 'trimOldest'}));
    expect(message).toContain('is too long for lab:m1, even without its oldest messages: it has about');
    expect(message).toContain('shorten the message, or use a larger window');
    expect(excess.promptTokens).toBe(estimateTokens({...request, messages: request.messages.slice(-1)}));
  });

  it('always gives a request that fits, or an error, and never trims more than it has to', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(80), {maxLength: 12}),
        fc.integer({min: 200, max: 1500}),
        async (sizes, window) => {
          const before = sizes.flatMap((words, n) =>
            turns(1, words).map(message => ({...message, content: `${n} ${message.content}`})),
          );
          const request = asking(5, {contextTokens: window}, before);
          const room = window - Math.floor(window / 8);
          const {request: sent, trimmed} = await fitting({request, overflow: 'trimOldest'});
          expect(estimateTokens(sent)).toBeLessThanOrEqual(room);
          expect(sent.messages).toEqual(request.messages.slice(trimmed));
          expect(trimmed % 2).toBe(0);
          // One exchange more would be over; the estimate is rounded up once for all.
          if (trimmed > 0) {
            expect(estimateTokens({...request, messages: request.messages.slice(trimmed - 2)})).toBeGreaterThanOrEqual(
              room,
            );
          }
        },
      ),
      {numRuns: 100},
    );
  });
});

describe('to a client', () => {
  it('an overflow is an error with its own code, that does not suspect the model; a trim is in the reply', async () => {
    const parameters = {contextTokens: 400};
    const {client, provider, stop} = await bench({parameters, overflow: 'trimOldest'});
    try {
      const talk = client().send({content: 'word '.repeat(1000)});
      expect(await talk.line()).toMatchObject({type: 'error', code: 'context_length_exceeded', retryable: false});
      const history = [
        {role: 'user', content: 'word '.repeat(300)},
        {role: 'assistant', content: 'yes'},
      ];
      talk.send({content: 'and now?', history});
      const {request} = await provider.call(0);
      expect(request.messages).toEqual([{role: 'user', content: 'and now?'}]);
      (await provider.call(0)).end('now');
      expect(await talk.line()).toMatchObject({type: 'chat_response', content: 'now', trimmed: 2});
      talk.send({content: 'and then?', history, stream: true}, {content: 'short'});
      (await provider.call(1)).end('then');
      expect(await talk.line()).toMatchObject({type: 'stream_chunk'});
      expect(await talk.line()).toMatchObject({type: 'stream_end', metadata: {trimmed: 2}});
      (await provider.call(2)).end('ok');
      expect(await talk.line()).not.toHaveProperty('trimmed');
    } finally {
      await stop();
    }
  });
});
