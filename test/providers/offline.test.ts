import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import {describe, expect, it, test} from '@jest/globals';
import type {ChatParameters, Expertise} from '../../src/api/types.js';
import {shippedComponents, shippedExpertise} from '../../src/expertise/catalogue.js';
import {createOfflineProvider} from '../../src/providers/offline.js';
import type {ChatEvent, ChatMessage, ChatRequest} from '../../src/providers/provider.js';

const never = new AbortController().signal;

describe('what an offline specialist answers', () => {
  it('says in every answer, first thing, that no model is connected, and last how to connect one', async () => {
    for (const component of await shippedComponents()) {
      for (const question of ['hello', 'How do I plan a release?', 'What is the capital of France?', '', '図']) {
        const answer = await ask(component, question);
        expect(answer).toMatch(/^No model is connected/);
        for (const way of [
          'Ollama',
          'ollama pull llama3.3:70b',
          'ANTHROPIC_API_KEY',
          'tekton-ai.yaml',
          '.env.tekton',
        ]) {
          expect(answer.slice(-300)).toContain(way);
        }
      }
    }
  });

  test.each(['hello', 'Who are you?', 'help', 'What can you do, Athena?', ''])(
    'introduces itself when asked %j',
    async question => {
      const answer = await ask('athena', question);
      expect(answer).toContain('I am Athena, The Knowledge Weaver.');
      expect(answer).toContain('Find contradictions and missing links');
      expect(answer).toContain('Engram: storing and recalling');
    },
  );

  test.each([
    [
      'hermes',
      'Why did my message not reach its subscriber?',
      'trace why a message did not reach its subscriber',
      'acknowledgement',
    ],
    ['terma', 'Which process holds port 45000?', 'find which process holds a port', 'complete output'],
    [
      'penia',
      'What does this workload cost per model?',
      'estimate the cost of a workload',
      'one successful outcome costs',
    ],
    ['tekton_core', 'How do I resolve a git merge conflict?', 'resolve a git merge conflict', 'what is blocked'],
  ])('%s answers %j from what it covers', async (component, question, step, more) => {
    const answer = await ask(component, question);
    expect(answer).toContain(`What I would do first: ${step}`);
    expect(answer).toContain(more);
    expect(answer).not.toContain('better asked elsewhere');
  });

  test.each([
    ['athena', 'Why was my message not delivered between the services?', 'Hermes covers delivering messages'],
    ['telos', 'What is the schedule?', 'Prometheus covers when it will be done'],
    ['hermes', 'Can you summarise the releases of our repositories?', 'Tekton Core covers repositories'],
    ['numa', 'My git merge has conflicts', 'Tekton Core covers projects, repositories, git'],
    ['numa', 'How do I reduce the cost of prompts?', 'Penia covers budgets'],
  ])('%s refers %j to the one that covers it', async (component, question, referral) => {
    const answer = await ask(component, question);
    expect(answer).toContain('better asked elsewhere');
    expect(answer).toContain(referral);
  });

  it('admits that a question is outside of all it knows, and says what it could do', async () => {
    const answer = await ask('hermes', 'What is the capital of France?');
    expect(answer).toContain("My stored expertise doesn't speak of capital, France.");
    expect(answer).toContain('Others may know:\n- Harmonia:');
    expect(answer).not.toContain('What I would do first');
  });

  it('mentions another specialist for a part of a question that it answers itself', async () => {
    const answer = await ask('prometheus', 'How should we plan the next release?');
    expect(answer).toContain('Planning ahead');
    expect(answer).toContain('A part of it may belong elsewhere: Tekton Core');
  });

  it('takes a follow-up without content of its own as about the question before', async () => {
    const question: ChatMessage = {role: 'user', content: 'Which process holds port 45000?'};
    const reply: ChatMessage = {role: 'assistant', content: 'Something about prompts.'};
    const first = await ask('terma', [question]);
    expect(await ask('terma', [question, reply, {role: 'user', content: 'tell me more'}])).toBe(first);
    expect(await ask('terma', [question, reply, {role: 'user', content: 'hello'}])).toContain('Ask me to:');
  });

  it('differs from component to component in substance, not in names alone', async () => {
    const questions = ['hello', 'How do I make my agents and prompts better and test the plan?'];
    const components = (await shippedComponents()).filter(component => component !== 'budget');
    for (const question of questions) {
      const answers = await Promise.all(components.map(async component => sentences(await ask(component, question))));
      answers.forEach((answer, i) => {
        const others = new Set(answers.flatMap((other, j) => (i === j ? [] : [...other])));
        expect(answer.filter(sentence => !others.has(sentence)).length).toBeGreaterThanOrEqual(2);
      });
    }
  });

  it('speaks for an expertise of a single field as well', async () => {
    const bare: Expertise = {
      title: 'Cook',
      expertise: 'soups and stews',
      focus: '',
      roles: [],
      capabilities: [],
      personality: '',
      refersTo: {},
    };
    expect(await ask('kitchen', 'Which soup?', bare)).toContain('I am Kitchen, Cook.');
    expect(await ask('kitchen', 'Which soup?', bare)).toContain('soups and stews.');
    expect(await ask('kitchen', 'Which planet?', bare)).toContain("doesn't speak of planet");
    expect(await ask('kitchen', 'hi', bare)).not.toContain('Ask me to');
  });
});

describe('the offline provider', () => {
  it('streams sentence by sentence, gives the same answer each time, and ends with one end event', async () => {
    const events = await chat('hermes', 'Why was a message lost?');
    const texts = events.filter(event => event.type === 'text');
    expect(texts.length).toBeGreaterThan(3);
    expect(events.slice(0, -1)).toEqual(texts);
    expect(events.at(-1)).toMatchObject({type: 'end', model: 'llama3.3:70b', stopReason: 'end'});
    expect(await chat('hermes', 'Why was a message lost?')).toEqual(events);
  });

  it('counts words as tokens, of system prompt and all messages on the way in', async () => {
    const events = await chat('hermes', [
      {role: 'user', content: 'one  two\n'},
      {role: 'assistant', content: 'three'},
      {role: 'user', content: 'four five'},
    ]);
    const written = textOf(events).split(/\s+/).length;
    expect(events.at(-1)).toMatchObject({inputTokens: 'You are Hermes.'.split(' ').length + 5, outputTokens: written});
  });

  it('stops at maxTokens and says so', async () => {
    const whole = textOf(await chat('athena', 'hello')).split(/\s+/);
    for (const maxTokens of [1, 7, whole.length - 1]) {
      const events = await chat('athena', 'hello', {maxTokens});
      expect(textOf(events).split(/\s+/)).toEqual(whole.slice(0, maxTokens));
      expect(events.at(-1)).toMatchObject({stopReason: 'length', outputTokens: maxTokens});
    }
    expect((await chat('athena', 'hello', {maxTokens: whole.length})).at(-1)).toMatchObject({stopReason: 'end'});
  });

  it('ends before the first stop text', async () => {
    const events = await chat('athena', 'hello', {stop: ['Weaver', 'Knowledge', 'not in it']});
    expect(textOf(events)).toMatch(/I am Athena, The $/);
    expect(events.at(-1)).toMatchObject({stopReason: 'stop'});
    expect((await chat('athena', 'hello', {stop: ['', 'Knowledge'], maxTokens: 3})).at(-1)).toMatchObject({
      stopReason: 'length',
    });
  });

  it('ends by throwing the reason when it is aborted under way, and answers nothing more', async () => {
    const stop = new AbortController();
    const heard: ChatEvent[] = [];
    const reason = new Error('the client left');
    const listen = async () => {
      for await (const event of (await provider('athena')).chat(request('hello'), stop.signal)) {
        heard.push(event);
        // From another turn of the event loop, as a cancel that comes in on a socket.
        if (heard.length === 1) setImmediate(() => stop.abort(reason));
      }
    };
    await expect(listen()).rejects.toBe(reason);
    expect(heard.length).toBeLessThanOrEqual(2);
    expect(heard.every(({type}) => type === 'text')).toBe(true);
  });

  it('does not begin when it is aborted already', async () => {
    const reason = new Error('too late');
    const stream = (await provider('athena')).chat(request('hello'), AbortSignal.abort(reason));
    await expect(stream[Symbol.asyncIterator]().next()).rejects.toBe(reason);
    await expect((await provider('athena')).check(['a'], AbortSignal.abort(reason))).rejects.toBe(reason);
  });

  it('has every model', async () => {
    const checks = await (await provider('athena')).check(['llama3.3:70b', 'expertise'], never);
    expect([...checks]).toEqual([
      ['llama3.3:70b', {available: true}],
      ['expertise', {available: true}],
    ]);
  });

  test.each<[string, Partial<ChatRequest>]>([
    ['tools', {tools: [{name: 'look_up', parameters: {}}]}],
    ['the results of tools', {messages: [{role: 'tool', toolCallId: 'call_1', content: '31'}]}],
    ['an answer in JSON', {responseFormat: {type: 'json'}}],
  ])('refuses %s, for there is no model to do it', async (_name, more) => {
    const events = (await provider('athena')).chat({...request('hello'), ...more}, never);
    await expect(events[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'bad_request',
      retryable: false,
      message: expect.stringContaining('no model is connected'),
    });
  });

  it('takes tools that it may not call', async () => {
    const tools = [{name: 'look_up', parameters: {}}];
    const events = (await provider('athena')).chat({...request('hello'), tools, toolChoice: 'none'}, never);
    expect((await events[Symbol.asyncIterator]().next()).value).toMatchObject({type: 'text'});
  });

  it('takes a question of megabytes in its stride', async () => {
    const events = await chat('athena', 'graph '.repeat(1_000_000));
    expect(textOf(events)).toContain('Your question touches on what I cover: graph.');
    expect(events.at(-1)).toMatchObject({inputTokens: 1_000_003});
  });

  it('brings no package and no module of Node into a worker', async () => {
    const root = fileURLToPath(new URL('../../', import.meta.url));
    const {stdout} = await promisify(execFile)(
      `${root}node_modules/.bin/esbuild`,
      ['src/providers/offline.ts', '--bundle', '--platform=node', '--format=esm', '--packages=external'],
      {cwd: root},
    );
    expect(stdout).toContain('createOfflineProvider');
    expect(stdout).not.toMatch(/^import|\bimport\(|\brequire\(/m);
  });
});

async function provider(component: string, own?: Expertise) {
  const expertise = own ?? (await shippedExpertise(component));
  if (!expertise) throw new Error(`nothing shipped for ${component}`);
  return createOfflineProvider({component, expertise});
}

function request(question: string | readonly ChatMessage[], parameters: ChatParameters = {}): ChatRequest {
  const messages = typeof question === 'string' ? [{role: 'user', content: question} as const] : question;
  return {model: 'llama3.3:70b', system: 'You are Hermes.', messages, parameters};
}

async function chat(
  component: string,
  question: string | readonly ChatMessage[],
  parameters: ChatParameters = {},
  own?: Expertise,
): Promise<readonly ChatEvent[]> {
  const events: ChatEvent[] = [];
  const stream = (await provider(component, own)).chat(request(question, parameters), never);
  for await (const event of stream) events.push(event);
  return events;
}

async function ask(component: string, question: string | readonly ChatMessage[], own?: Expertise): Promise<string> {
  return textOf(await chat(component, question, {}, own));
}

function textOf(events: readonly ChatEvent[]): string {
  return events.map(event => (event.type === 'text' ? event.text : '')).join('');
}

/** Sentences and list items without the sentence that carries the name, and without the frame. */
function sentences(answer: string): readonly string[] {
  return answer.split(/\n+|(?<=\.)\s+/).filter(text => text !== '' && !/^I am |No model|connect a model/.test(text));
}
