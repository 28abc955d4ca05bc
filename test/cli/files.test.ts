/** The verbs that read files only: validate, diff, plan, logs, events. */
import {appendFileSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {afterEach, beforeEach, describe, expect, it, test} from '@jest/globals';
import type {FleetEvent} from '../../src/api/types.js';
import {tailOffset} from '../../src/cli/follow.js';
import {appendEvents} from '../../src/registry/events.js';
import {statePaths} from '../../src/registry/paths.js';
import {cli} from './host.js';
import {sampleDesired} from './samples.js';
import {makeState, writeFleet, type State} from './state.js';

const fleet = `apiVersion: tekton.ai/v1alpha1
kind: Fleet
metadata: {name: dev}
spec:
  defaults: {provider: offline}
  specialists:
    - component: athena
    - component: hermes
`;

let state: State;
let folder: string;

beforeEach(async () => {
  state = await makeState();
  folder = path.join(state.home, 'work');
  mkdirSync(path.join(folder, 'below'), {recursive: true});
  writeFileSync(path.join(folder, 'tekton-ai.yaml'), fleet);
});

afterEach(() => state.remove());

const at = (...argv: string[]) => cli(argv, {home: state.home, cwd: folder});

describe('validate', () => {
  it('finds the file in a folder above', async () => {
    const ran = await cli(['validate'], {home: state.home, cwd: path.join(folder, 'below')});
    expect(ran).toEqual({code: 0, out: 'fleet dev is valid: 2 specialists\n', err: ''});
  });

  it('reads standard input', async () => {
    const ran = await cli(['validate', '-f', '-'], {home: state.home, cwd: '/', stdin: fleet});
    expect(ran).toEqual({code: 0, out: 'fleet dev is valid: 2 specialists\n', err: ''});
  });

  it('shows every problem with its place, and ends with 4', async () => {
    writeFileSync(
      path.join(folder, 'tekton-ai.yaml'),
      fleet.replace('component: hermes', 'component: hermes\n      modle: a'),
    );
    const {code, out, err} = await at('validate');
    expect({code, out}).toEqual({code: 4, out: ''});
    expect(err).toMatchInlineSnapshot(`
     "tekton-ai.yaml:9:7: unknown field \`modle\`
       9 |       modle: a
         |       ^
       hint: did you mean \`model\`?
     error: invalid input: 1 problem; nothing was changed
     "
    `);
  });

  it('writes what is wrong in the format that was asked for, too', async () => {
    writeFileSync(path.join(folder, 'tekton-ai.yaml'), fleet.replace('hermes', 'hermes\n      modle: a'));
    const {code, out, err} = await at('validate', '-o', 'json');
    expect(code).toBe(4);
    expect(JSON.parse(out)).toMatchObject({valid: false, problems: [{place: {file: 'tekton-ai.yaml', line: 9}}]});
    expect(err).toContain('tekton-ai.yaml:9:7: unknown field `modle`');
    expect((await cli(['diff', '-o', 'github', '-f', 'none.yaml'], {home: state.home, cwd: folder})).out).toMatch(
      /^::error title=tekton-ai diff::cannot read none\.yaml: there is no such file/,
    );
  });

  it('says in every format what is valid', async () => {
    expect(JSON.parse((await at('validate', '-o', 'json')).out)).toMatchObject({
      valid: true,
      summary: '1 fleet is valid: 2 specialists.',
      fleets: [{name: 'dev', specialists: 2, actions: []}],
    });
    for (const format of ['markdown', 'github', 'junit', 'sarif', 'gitlab']) {
      expect(await at('validate', '-o', format)).toMatchObject({code: 0, err: ''});
    }
  });

  it('says where it looked', async () => {
    const ran = await cli(['validate'], {home: state.home, cwd: state.home});
    expect(ran).toEqual({
      code: 4,
      out: '',
      err:
        `error: there is no tekton-ai.yaml in ${state.home} or a folder above it\n` +
        'hint: create one, or name a file with -f\n',
    });
  });
});

describe('diff and plan', () => {
  const creates =
    '  + create athena (athena, offline:expertise): it is new\n' +
    '  + create hermes (hermes, offline:expertise): it is new\n' +
    '\nPlan: 2 to create.\n';

  it('print the same, and end as kubectl and terraform do', async () => {
    const err = 'that is 2 more processes, with about 14 MB of memory of their own\n';
    expect(await at('diff')).toEqual({code: 1, out: creates, err});
    expect(await at('plan')).toEqual({code: 0, out: creates, err});
    expect(await at('plan', '--detailed-exitcode')).toEqual({code: 2, out: creates, err});
  });

  it('print the same as a document, with the same exit codes', async () => {
    for (const [argv, code] of [
      [['diff', '-o', 'json'], 1],
      [['plan', '-o', 'json'], 0],
      [['plan', '-o', 'json', '--detailed-exitcode'], 2],
    ] as const) {
      const ran = await at(...argv);
      expect(ran.code).toBe(code);
      expect(JSON.parse(ran.out)).toMatchObject({differs: true, counts: {create: 2}, summary: 'Plan: 2 to create.'});
    }
  });

  it("append to the summary of GitHub's job what the log says", async () => {
    const summary = path.join(folder, 'summary.md');
    const environment = {GITHUB_STEP_SUMMARY: summary};
    const ran = await cli(['diff', '-o', 'github'], {home: state.home, cwd: folder, environment});
    expect(ran.out).toContain('::notice ');
    await cli(['validate', '-o', 'github'], {home: state.home, cwd: folder, environment});
    expect(readFileSync(summary, 'utf8')).toMatch(/^### tekton-ai diff\n[^]+\n### tekton-ai validate\n/);
    writeFileSync(summary, 'x'.repeat(1024 * 1024 - 5000));
    writeFileSync(path.join(folder, 'tekton-ai.yaml'), fleet);
    await cli(['diff', '-o', 'github'], {home: state.home, cwd: folder, environment});
    expect(statSync(summary).size).toBeLessThanOrEqual(1024 * 1024);
    const nowhere = {GITHUB_STEP_SUMMARY: path.join(folder, 'none/summary.md')};
    const failed = await cli(['validate', '-o', 'github'], {home: state.home, cwd: folder, environment: nowhere});
    expect(failed).toMatchObject({code: 0, err: expect.stringContaining('the summary was not written') as unknown});
  });

  it('end with 0 where nothing differs', async () => {
    writeFileSync(path.join(folder, 'tekton-ai.yaml'), fleet.replace('spec:', 'spec:\n  enabled: false'));
    const {code, out} = await at('diff');
    expect({code, out}).toEqual({code: 0, out: 'No changes. Nothing is declared, and nothing runs.\n'});
  });

  it('end with 4 on invalid input', async () => {
    writeFileSync(path.join(folder, 'tekton-ai.yaml'), 'kind: [');
    expect((await at('diff')).code).toBe(4);
  });

  it('say that an apply from here would be refused', async () => {
    await writeFleet(state.home, [], {source: {type: 'files', paths: ['/elsewhere/tekton-ai.yaml']}});
    const {err} = await at('plan');
    expect(err).toMatch(/^an apply would be refused: .*\/elsewhere\/tekton-ai\.yaml$/m);
  });
});

describe('logs', () => {
  beforeEach(async () => {
    await writeFleet(state.home, [sampleDesired({name: 'athena'})]);
  });

  it('prints the log, or the end of it', async () => {
    writeFileSync(statePaths(state.home).log('athena-ai'), 'one\ntwo\nthree\n');
    expect(await at('logs', 'athena')).toEqual({code: 0, out: 'one\ntwo\nthree\n', err: ''});
    expect((await at('logs', 'athena', '--tail', '2')).out).toBe('two\nthree\n');
    expect((await at('logs', 'athena', '--tail', '0')).out).toBe('');
  });

  it('says that there is none yet', async () => {
    const {code, err} = await at('logs', 'athena');
    expect(code).toBe(1);
    expect(err).toContain('error: there is no log of athena-ai yet');
  });

  it('follows what is written, across a rotation', async () => {
    const file = statePaths(state.home).log('athena-ai');
    writeFileSync(file, 'one\n');
    const stop = new AbortController();
    const {code, out} = await cli(['logs', 'athena', '-f'], {
      home: state.home,
      signal: stop.signal,
      onOut: once([
        ['one\n', () => appendFileSync(file, 'two\n')],
        [
          'two\n',
          () => {
            renameSync(file, `${file}.1`);
            writeFileSync(file, 'three\n');
          },
        ],
        ['three\n', () => stop.abort()],
      ]),
    });
    expect({code, out}).toEqual({code: 130, out: 'one\ntwo\nthree\n'});
  });

  it('follows a log that does not exist yet', async () => {
    const stop = new AbortController();
    const running = cli(['logs', 'athena', '-f'], {home: state.home, signal: stop.signal, onOut: () => stop.abort()});
    writeFileSync(statePaths(state.home).log('athena-ai'), 'one\n');
    expect(await running).toEqual({code: 130, out: 'one\n', err: ''});
  });
});

test.each([
  ['', 1, 0],
  ['a', 1, 0],
  ['a\nb', 1, 2],
  ['a\nb\n', 1, 2],
  ['a\nb\n', 2, 0],
  ['a\nb\n', 9, 0],
  ['a\n\n', 1, 2],
  [`${'x'.repeat(200_000)}\nlast\n`, 1, 200_001],
])('the tail of a log begins after the right newline (case %#)', async (text, lines, offset) => {
  const file = path.join(folder, 'log');
  writeFileSync(file, text);
  expect(await tailOffset(file, lines)).toBe(offset);
});

describe('events', () => {
  const event = (minute: number, aiId: string, reason: string): FleetEvent => ({
    at: `2026-01-05T10:0${minute}:00.123Z`,
    type: reason === 'Exited' ? 'Warning' : 'Normal',
    reason,
    namespace: 'default',
    fleet: 'dev',
    aiId,
    message: 'it happened',
  });

  beforeEach(async () => {
    await writeFleet(state.home, [sampleDesired({name: 'athena'})]);
    await appendEvents(state.home, [
      event(1, 'athena-ai', 'Launched'),
      event(2, 'old-ai', 'Pruned'),
      event(3, 'athena-ai', 'Exited'),
    ]);
  });

  it('prints them in order', async () => {
    const {code, out} = await at('events');
    expect(code).toBe(0);
    expect(out).toMatchInlineSnapshot(`
     "2026-01-05T10:01:00Z  Normal   Launched       athena-ai           it happened
     2026-01-05T10:02:00Z  Normal   Pruned         old-ai              it happened
     2026-01-05T10:03:00Z  Warning  Exited         athena-ai           it happened
     "
    `);
  });

  it('prints the newest of one specialist, of a pruned one too', async () => {
    expect((await at('events', 'athena', '--limit', '1')).out).toMatch(/^\S+ +Warning +Exited +athena-ai [^\n]+\n$/);
    expect((await at('events', 'old')).out).toMatch(/^\S+ +Normal +Pruned +old-ai [^\n]+\n$/);
    expect(await at('events', '-n', 'lab')).toEqual({code: 0, out: '', err: 'no events\n'});
  });

  it('goes on with what happens', async () => {
    const stop = new AbortController();
    const {code, out} = await cli(['events', 'athena', '-w'], {
      home: state.home,
      signal: stop.signal,
      onOut: once([
        [
          'Exited',
          () => void appendEvents(state.home, [event(4, 'old-ai', 'Adopted'), event(5, 'athena-ai', 'Relaunched')]),
        ],
        ['Relaunched', () => stop.abort()],
      ]),
    });
    expect(code).toBe(130);
    expect(out.match(/Launched|Exited|Adopted|Relaunched/g)).toEqual(['Launched', 'Exited', 'Relaunched']);
  });
});

/** Takes each step once, when its text has come. */
function once(steps: [text: string, step: () => void][]): (text: string) => void {
  return text => {
    const [next] = steps;
    if (next === undefined || !text.includes(next[0])) return;
    steps.shift();
    next[1]();
  };
}
