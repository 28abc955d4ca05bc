/** `worker` by hand, and the verbs that talk to what it serves: the real specialist with the offline provider. */
import {afterAll, beforeAll, describe, expect, it} from '@jest/globals';
import {PassThrough} from 'node:stream';
import type {ListDocument, SpecialistDocument} from '../../src/cli/print/documents.js';
import {RegistryClient} from '../../src/registry/registry-client.js';
import {cli, exitCodes, type Ran} from './host.js';
import {makeState, type State} from './state.js';

let state: State;
let served: Promise<Ran>;
const stop = new AbortController();

beforeAll(async () => {
  state = await makeState();
  const argv = ['worker', '--component', 'athena', '--provider', 'offline'];
  served = cli(argv, {home: state.home, signal: stop.signal});
  await Promise.race([new RegistryClient({home: state.home}).waitFor('athena-ai'), failIfEnded(served)]);
});

afterAll(async () => {
  stop.abort();
  const {code, err} = await served;
  const left = await new RegistryClient({home: state.home}).list();
  state.remove();
  expect(code).toBe(130);
  expect(err).toMatch(/^athena-ai listens on 127\.0\.0\.1:\d+, offline:expertise; Control-C ends it\n$/);
  expect(left).toEqual([]);
});

describe('a specialist that is served by hand', () => {
  it('is Ready, and belongs to no fleet', async () => {
    const {code, out, err} = await cli(['get', '-o', 'json', '--role', 'nobody'], {home: state.home});
    expect({code, err}).toEqual({code: 0, err: ''});
    expect((JSON.parse(out) as ListDocument).items).toEqual([]);
    const {out: one} = await cli(['get', 'athena', '-o', 'json'], {home: state.home});
    expect(JSON.parse(one) as SpecialistDocument).toMatchObject({
      metadata: {name: 'athena', namespace: 'default', annotations: {'tekton.ai/ai-id': 'athena-ai'}},
      status: {
        phase: 'Ready',
        model: {provider: 'offline', model: 'expertise'},
        instance: {identity: {pid: process.pid}},
      },
    });
    const {out: wide} = await cli(['get', '--component', 'athena', '-o', 'wide'], {home: state.home});
    expect(wide).toMatch(/\nathena +athena +True +Ready +offline:expertise +\d+ +0 +\d+s +\d+ +0 +<none> +Ready\n$/);
  });

  it('shows its memory in status', async () => {
    const {out} = await cli(['status'], {home: state.home});
    expect(out).toMatch(/\nathena +athena-ai +\d+ +offline:expertise +Ready +0 +\d+s +[\d.]+ [MG]B\n$/);
  });

  it('prints as YAML that reads back as the same document', async () => {
    const {parse} = await import('yaml');
    const {out} = await cli(['get', '-o', 'yaml'], {home: state.home});
    expect(parse(out)).toMatchObject({kind: 'List', items: [{kind: 'Specialist', metadata: {name: 'athena'}}]});
  });

  it('is not served twice', async () => {
    const {code, err} = await cli(['worker', '--component', 'athena'], {home: state.home});
    expect(code).toBe(5);
    expect(err).toMatch(
      /^error: cannot serve athena-ai: it already runs on port \d+\nhint: give this one another --name/,
    );
  });
});

describe('chat', () => {
  it('prints the answer as it comes, and nothing else', async () => {
    const {code, out, err} = await cli(['chat', 'athena', 'who', 'are', 'you?'], {home: state.home});
    expect({code, err}).toEqual({code: 0, err: ''});
    expect(out).toMatch(/no model is connected/i);
    expect(out.endsWith('\n')).toBe(true);
  });

  it('reads the message from standard input, and can wait for the whole answer', async () => {
    const whole = await cli(['chat', 'athena-ai', '-', '--no-stream'], {home: state.home, stdin: 'who are you?'});
    const streamed = await cli(['chat', 'athena', 'who are you?'], {home: state.home});
    expect(whole).toEqual(streamed);
  });

  it('prints the reply as JSON', async () => {
    const {out} = await cli(['chat', 'athena', 'hello', '-o', 'json'], {home: state.home});
    const reply = JSON.parse(out) as Record<string, unknown>;
    expect(reply).toMatchObject({type: 'chat_response', ai_id: 'athena-ai', model: 'offline:expertise'});
    expect(typeof reply['content']).toBe('string');
    expect(reply).not.toHaveProperty('request_id');
  });

  it.each([[['chat', 'athena']], [['chat', 'athena', '-']], [['chat', 'athena', ' ']]])(
    '%j has nothing to say: 4',
    async argv => {
      const {code, out, err} = await cli(argv, {home: state.home});
      expect({code, out}).toEqual({code: 4, out: ''});
      expect(err).toContain('hint: tekton-ai chat NAME "message", or - to read it from standard input\n');
    },
  );

  it.each([
    ['the end of the input', 'who are you?\nand what do you know?\n'],
    ['/exit', 'who are you?\nand what do you know?\n/exit\nnot this one\n'],
    ['a Control-D that the terminal took before', 'who are you?\nand what do you know?\n\0'],
    ['a last line without an end', 'who are you?\nand what do you know?'],
  ])('is a conversation on a terminal, until %s; lines that are typed ahead wait', async (_, typed) => {
    const stdin = new PassThrough();
    stdin.write(typed);
    // A terminal stays open.
    if (!/\/exit|\0/.test(typed)) stdin.end();
    const {code, out, err} = await cli(['chat', 'athena', '--no-color'], {home: state.home, stdin, terminal: true});
    expect(code).toBe(exitCodes.ok);
    expect(out.match(/no model is connected/gi)).toHaveLength(2);
    expect(err.match(/^athena answered with offline:expertise/gm)).toHaveLength(2);
  });

  it('takes no name beside a role, for that would become part of the message', async () => {
    for (const name of ['athena', 'athena-ai', 'default/athena']) {
      expect(await cli(['chat', '--role', 'knowledge', name, 'hello'], {home: state.home})).toEqual({
        code: exitCodes.invalidInput,
        out: '',
        err:
          `error: a name ("${name}") and --role were given\n` +
          'hint: leave one of them out; a message that begins with a name is told by quoting all of it\n',
      });
    }
  });

  it('wants a message before it chooses somebody for a role', async () => {
    expect(await cli(['chat', '--role', 'knowledge'], {home: state.home})).toEqual({
      code: exitCodes.invalidInput,
      out: '',
      err:
        'error: no message to say\n' +
        'hint: tekton-ai chat --role ROLE "message", or - to read it from standard input\n',
    });
  });
});

it('refuses a provider that it does not know, as a file would be', async () => {
  const {code, err} = await cli(['worker', '--component', 'numa', '--provider', 'olama'], {home: state.home});
  expect(code).toBe(4);
  expect(err).toContain('olama');
  expect(err).toContain('did you mean `ollama`?');
});

async function failIfEnded(run: Promise<Ran>): Promise<never> {
  const {code, err} = await run;
  throw new Error(`the worker ended with ${code}: ${err}`);
}
