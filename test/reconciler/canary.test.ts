/** What an answer must be like, how prompts are asked, and what follows. */
import {describe, expect, it, test} from '@jest/globals';
import {canaryDefaults} from '../../src/api/defaults.js';
import type {Canary, CanaryPrompt} from '../../src/api/types.js';
import {answerChecks} from '../../src/cli/canary-ports.js';
import {
  agrees,
  answersOf,
  excerptOf,
  failureOf,
  isAnswerPath,
  reportOf,
  reportText,
} from '../../src/reconciler/canary.js';
import {runCanary} from '../../src/reconciler/canary-run.js';
import type {Asked, CanaryTools} from '../../src/reconciler/canary-run.js';
import {FakeClock} from '../fakes/clock.js';
import {desire} from '../fakes/ports.js';

const answer = (content: string, seconds = 1, outputTokens = 10) => ({content, seconds, outputTokens});

describe('an answer', () => {
  const city = {type: 'object', required: ['city'], properties: {city: {type: 'string'}}};

  test.each<[Omit<CanaryPrompt, 'prompt'>, string, string | undefined]>([
    [{}, 'anything', undefined],
    [{}, ' ', 'is not empty'],
    [{contains: 'paris'}, 'It is Paris.', undefined],
    [{contains: ['paris', 'france']}, 'It is Paris.', 'contains "france"'],
    [{notContains: 'sorry'}, 'Sorry, no.', 'does not contain "sorry"'],
    [{notContains: ['sorry']}, 'Paris.', undefined],
    [{matches: '^\\d+$'}, '42', undefined],
    [{matches: '^\\d+$'}, 'forty-two', 'matches ^\\d+$'],
    [{schema: city}, '{"city": "Paris"}', undefined],
    [{schema: city}, '```json\n{"city": "Paris"}\n```', undefined],
    [{schema: city}, 'Paris', 'is JSON'],
    [{schema: city}, '{"town": "Paris"}', "fits the schema (it must have required property 'city')"],
    [{schema: city}, '{"city": 1}', 'fits the schema (/city must be string)'],
    [{maxLatencySeconds: 2}, 'ok', undefined],
    [{maxLatencySeconds: 0.5}, 'ok', 'comes within 0.5 s (took 1.0 s)'],
    [{maxTokens: 5}, 'ok', 'has at most 5 tokens (has 10)'],
    [{contains: 'ok', matches: 'o.', maxTokens: 10}, 'ok', undefined],
  ])('for %j: %s', async (prompt, content, expectation) => {
    const failure = await failureOf({prompt: 'p', ...prompt}, answer(content), answerChecks);
    expect(failure?.expectation).toBe(expectation);
  });

  it('is never looked at for longer than a moment, whatever the pattern', async () => {
    const began = performance.now();
    const failure = await failureOf({prompt: 'p', matches: '(a+)+$'}, answer(`${'a'.repeat(60)}!`), answerChecks);
    expect(failure?.expectation).toBe('matches (a+)+$ (looking took too long)');
    expect(performance.now() - began).toBeLessThan(5000);
  });

  it('is never looked at for longer than a moment, whatever the schema', async () => {
    const schema = {type: 'string', pattern: '^(a+)+$'};
    const failure = await failureOf({prompt: 'p', schema}, answer(`"${'a'.repeat(60)}!"`), answerChecks);
    expect(failure?.expectation).toBe('fits the schema (looking took too long)');
  });

  it('fails a schema that refers to itself without end, and nothing else', async () => {
    const again = {anyOf: [{$ref: '#/definitions/a'}]};
    const schema = {allOf: [{$ref: '#/definitions/a'}], definitions: {a: again}};
    const failure = await failureOf({prompt: 'p', schema}, answer('{}'), answerChecks);
    expect(failure?.expectation).toContain("the schema can't be used: ");
  });

  it('is shown on one short line, without keys', () => {
    const text = excerptOf(`no\n${'x'.repeat(200)}`);
    expect(text).toHaveLength(120);
    expect(text).toMatch(/^no x+…$/);
    expect(excerptOf('use sk-ant-REDACTED')).not.toContain('abcdefgh');
  });
});

describe('a judge', () => {
  test.each([
    ['yes', 'Yes, it is.', true],
    ['yes', '**YES**', true],
    ['yes', 'No, though yes would be nice.', false],
    ['yes', 'yesterday', false],
    ['no', 'No.', true],
    ['yes', '', false],
  ])('that is to say %s and says %j agrees: %s', (expect_, verdict, agreed) => {
    expect(agrees(expect_, verdict)).toBe(agreed);
  });
});

describe('what answers', () => {
  test.each([
    ['model', true],
    ['provider', true],
    ['provider.baseUrl', true],
    ['provider.script', true],
    ['provider.prices.m.input', false],
    ['provider.timeouts.idleSeconds', false],
    ['provider.apiKey.env', false],
    ['parameters.temperature', true],
    ['expertise.systemPrompt', true],
    ['fallback', true],
    ['fallbackProvider.lab.baseUrl', true],
    ['canary.prompts', false],
    ['port', false],
    ['concurrency.max', false],
    ['enabled', false],
  ])('%s is of it: %s', (path, is) => {
    expect(isAnswerPath(path)).toBe(is);
  });

  it('is the same where only other fields differ', () => {
    expect(answersOf(desire('athena', {port: 1}))).toBe(answersOf(desire('athena', {port: 2})));
    expect(answersOf(desire('athena', {model: 'm1'}))).not.toBe(answersOf(desire('athena', {model: 'm2'})));
  });
});

describe('the pass rate', () => {
  const results = (passed: number, of: number) =>
    Array.from({length: of}, (_, i) => ({name: `p${i}`, passed: i < passed, attempts: 1}));

  test.each([
    [1, 3, 3, true],
    [1, 2, 3, false],
    [0.9, 9, 10, true],
    [0.9, 8, 10, false],
    [0.5, 1, 2, true],
    [0.7, 7, 10, true],
  ])('%d with %d of %d: %s', (passRate, passed, of, verdict) => {
    const prompts = Array.from({length: of}, () => ({prompt: 'p'}));
    expect(reportOf({...canaryDefaults, passRate, prompts}, results(passed, of)).passed).toBe(verdict);
  });

  it('is told with the first that failed', () => {
    const failure = {expectation: 'contains "please"', answer: 'No.'};
    const report = reportOf({...canaryDefaults, prompts: [{prompt: 'a'}, {prompt: 'b'}]}, [
      {name: 'polite', passed: false, attempts: 1, failure},
      {name: 'short', passed: true, attempts: 1},
    ]);
    expect(reportText(report)).toBe(
      '1 of 2 prompts failed: polite: expected that the answer contains "please"; the answer was "No."',
    );
  });
});

describe('asking', () => {
  const canary = (changes: Partial<Canary>): Canary => ({
    ...canaryDefaults,
    prompts: [{prompt: 'hi', contains: 'ok'}],
    ...changes,
  });
  const said = (content: string): Asked => ({ok: true, answer: answer(content)});
  const broken: Asked = {ok: false, message: 'connection lost', retryable: true};

  function tools(answers: (Asked | 'hang')[], verdicts: Asked[] = []) {
    const clock = new FakeClock();
    const asked: string[] = [];
    const made: CanaryTools = {
      clock,
      checks: answerChecks,
      ask: async (chat, signal) => {
        asked.push(chat.content);
        const next = answers.length > 1 ? answers.shift() : answers[0];
        if (next === undefined || next === 'hang') {
          return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
        }
        return next;
      },
      askJudge: async (_name, chat) => {
        asked.push(chat.content);
        return (verdicts.length > 1 ? verdicts.shift() : verdicts[0]) ?? broken;
      },
    };
    return {clock, asked, tools: made};
  }

  async function done<T>(clock: FakeClock, work: Promise<T>): Promise<T> {
    let over = false;
    const settled = work.finally(() => (over = true));
    settled.catch(() => undefined);
    for (let i = 0; i < 1000 && !over; i++) await clock.advance(250);
    return settled;
  }

  const ask = async (made: ReturnType<typeof tools>, what: Canary) =>
    done(made.clock, runCanary(what, made.tools, new AbortController().signal));

  it('passes at the first answer that is as expected', async () => {
    const made = tools([said('no'), said('ok')]);
    const report = await ask(made, canary({attempts: 3}));
    expect(report).toMatchObject({passed: true, results: [{name: 'prompt 1', attempts: 2}]});
    expect(made.asked).toHaveLength(2);
  });

  it('fails when no attempt is as expected', async () => {
    const report = await ask(tools([said('no')]), canary({attempts: 2}));
    expect(report).toMatchObject({
      passed: false,
      results: [{attempts: 2, failure: {expectation: 'contains "ok"', answer: 'no'}}],
    });
  });

  it('asks again after a fault that may pass', async () => {
    expect(await ask(tools([broken, broken, said('ok')]), canary({}))).toMatchObject({passed: true});
  });

  it('fails at once on a fault that stays', async () => {
    const report = await ask(tools([{...broken, message: 'model not found', retryable: false}]), canary({}));
    expect(report.results[0]?.failure).toEqual({expectation: 'comes (model not found)'});
  });

  it('fails when no answer comes in time', async () => {
    const made = tools(['hang']);
    const report = await ask(made, canary({timeoutSeconds: 5}));
    expect(report.results[0]?.failure).toEqual({expectation: 'comes within 5 s'});
    expect(made.clock.pending).toEqual([]);
  });

  it('fails when the fault lasts until the time is up, and says which', async () => {
    const report = await ask(tools([broken]), canary({timeoutSeconds: 5}));
    expect(report.results[0]?.failure).toEqual({expectation: 'comes within 5 s (connection lost)'});
  });

  const judge = {specialist: 'rhetor', question: 'Polite?', expect: 'yes'};
  const judged = (changes: Partial<Canary> = {}) => canary({prompts: [{prompt: 'hi', judge}], ...changes});

  it('shows the judge prompt and answer', async () => {
    const made = tools([said('good day')], [said('Yes.')]);
    expect(await ask(made, judged())).toMatchObject({passed: true});
    expect(made.asked[1]).toMatch(/^Polite\?[^]*\nhi\n[^]*\ngood day$/);
  });

  it('fails by the word of the judge', async () => {
    const report = await ask(tools([said('go away')], [said('No, rude.')]), judged());
    expect(report.results[0]?.failure).toEqual({
      expectation: 'is judged "yes" by rhetor (it said "No, rude.")',
      answer: 'go away',
    });
  });

  it('waits for a judge that is not Ready yet', async () => {
    expect(await ask(tools([said('good day')], [broken, broken, said('yes')]), judged())).toMatchObject({passed: true});
  });

  it('counts a judge that does not come in time as a no', async () => {
    const report = await ask(tools([said('good day')], [broken]), judged({timeoutSeconds: 3}));
    expect(report.results[0]?.failure?.expectation).toBe('is judged "yes" by rhetor (connection lost)');
  });

  it('ends when it is told to', async () => {
    const made = tools(['hang']);
    const stop = new AbortController();
    const work = runCanary(canary({}), made.tools, stop.signal);
    stop.abort(new Error('declared otherwise'));
    await expect(work).rejects.toThrow('declared otherwise');
    expect(made.clock.pending).toEqual([]);
  });
});
