import {readFileSync} from 'node:fs';
import {describe, expect, it, test} from '@jest/globals';
import {version} from '../../src/api/version.js';
import {parseCommandLine, type Invocation} from '../../src/cli/program.js';
import {cli, exitCodes} from './host.js';

function parse(line: string): Pick<Invocation, 'args' | 'options' | 'home' | 'color'> {
  const said: string[] = [];
  const say = (text: string) => void said.push(text);
  const parsed = parseCommandLine(line.split(' '), {out: say, err: say});
  if (typeof parsed === 'number') throw new Error(said.join(''));
  const {args, options, home, color} = parsed;
  return {args, options, home, color};
}

const applyDefaults = {
  files: [],
  wait: false,
  stableForMs: 0,
  timeoutMs: 60_000,
  dryRun: false,
  prune: true,
  yes: false,
  takeOver: false,
  ignoreWindows: false,
  detailedExitcode: false,
};

describe('flags', () => {
  test.each<[string, readonly string[], object]>([
    ['up', [], {files: [], stableForMs: 0, timeoutMs: 60_000, yes: false, takeOver: false, ignoreWindows: false}],
    [
      'apply --stable-for 10s --fail-after-crashes 3',
      [],
      {...applyDefaults, wait: true, stableForMs: 10_000, failAfterCrashes: 3},
    ],
    [
      'up --take-over',
      [],
      {files: [], stableForMs: 0, timeoutMs: 60_000, yes: false, takeOver: true, ignoreWindows: false},
    ],
    [
      'up -f a.yaml --file b --timeout 2m --yes',
      [],
      {files: ['a.yaml', 'b'], stableForMs: 0, timeoutMs: 120_000, yes: true, takeOver: false, ignoreWindows: false},
    ],
    [
      'up -f -',
      [],
      {files: ['-'], stableForMs: 0, timeoutMs: 60_000, yes: false, takeOver: false, ignoreWindows: false},
    ],
    ['down --timeout 500ms', [], {files: [], timeoutMs: 500, all: false}],
    [
      'up --ttl 2h',
      [],
      {
        ...{files: [], stableForMs: 0, timeoutMs: 60_000, ttlMs: 7_200_000},
        ...{yes: false, takeOver: false, ignoreWindows: false},
      },
    ],
    ['apply', [], applyDefaults],
    [
      'up --ignore-windows',
      [],
      {files: [], stableForMs: 0, timeoutMs: 60_000, yes: false, takeOver: false, ignoreWindows: true},
    ],
    ['apply --ignore-windows', [], {...applyDefaults, ignoreWindows: true}],
    ['run', [], {files: [], ignoreWindows: false}],
    ['run --ignore-windows', [], {files: [], ignoreWindows: true}],
    ['apply --wait --dry-run --take-over', [], {...applyDefaults, wait: true, dryRun: true, takeOver: true}],
    ['apply --prune=false', [], {...applyDefaults, prune: false}],
    ['apply --no-prune', [], {...applyDefaults, prune: false}],
    ['apply --prune', [], applyDefaults],
    ['apply --detailed-exitcode --yes', [], {...applyDefaults, detailedExitcode: true, yes: true}],
    ['plan --detailed-exitcode -o json', [], {files: [], verb: 'plan', detailedExitcode: true, output: 'json'}],
    ['diff -f x', [], {files: ['x'], verb: 'diff', detailedExitcode: false, output: 'text'}],
    ['diff --against main', [], {files: [], verb: 'diff', detailedExitcode: false, output: 'text', against: 'main'}],
    [
      'plan --against old.yaml --detailed-exitcode',
      [],
      {files: [], verb: 'plan', detailedExitcode: true, output: 'text', against: 'old.yaml'},
    ],
    ['validate -o sarif', [], {files: [], output: 'sarif'}],
    ['delete a', ['a'], {}],
    ['get', [], {output: 'table', watch: false}],
    ['get a b -o json -w', ['a', 'b'], {output: 'json', watch: true}],
    ['get --component x --role r', [], {output: 'table', watch: false, component: 'x', role: 'r'}],
    ['-n lab get --fleet dev', [], {output: 'table', watch: false, namespace: 'lab', fleet: 'dev'}],
    ['status -n lab', [], {output: 'table', namespace: 'lab'}],
    ['status -o json', [], {output: 'json'}],
    ['describe a', ['a'], {}],
    ['logs a', ['a'], {follow: false}],
    ['logs a -f --tail 0', ['a'], {follow: true, tail: 0}],
    ['chat a', ['a'], {stream: true, output: 'text'}],
    ['chat a how are you', ['a', 'how', 'are', 'you'], {stream: true, output: 'text'}],
    ['chat --role r hi there', ['hi', 'there'], {stream: true, output: 'text', role: 'r'}],
    ['usage', [], {by: 'specialist', selector: [], output: 'table'}],
    [
      'usage a --since 7d --by model -l team=a -l gpu -o json',
      ['a'],
      {
        ...{by: 'model', output: 'json', since: 7},
        selector: [
          {type: 'equals', key: 'team', value: 'a'},
          {type: 'has', key: 'gpu'},
        ],
      },
    ],
    ['top -w', [], {output: 'table', watch: true}],
    ['chat a -', ['a', '-'], {stream: true, output: 'text'}],
    ['chat a hi --session s --no-stream -o json', ['a', 'hi'], {stream: false, output: 'json', session: 's'}],
    ['canary a', ['a'], {output: 'table'}],
    ['canary a -o json -n lab', ['a'], {output: 'json', namespace: 'lab'}],
    ['sessions a', ['a'], {output: 'table'}],
    ['sessions a -o name -n lab', ['a'], {output: 'name', namespace: 'lab'}],
    ['sessions delete a s t', ['a', 's', 't'], {all: false}],
    ['sessions delete a --all', ['a'], {all: true}],
    ['notify test', [], {}],
    ['notify test chat pager --fleet dev -n lab', ['chat', 'pager'], {fleet: 'dev', namespace: 'lab'}],
    ['sources -o wide', [], {output: 'wide'}],
    ['sources delete a b', ['a', 'b'], {}],
    ['suspend a -n lab', ['a'], {action: 'suspend', wait: false, timeoutMs: 0, namespace: 'lab'}],
    ['resume a b', ['a', 'b'], {action: 'resume', wait: false, timeoutMs: 0}],
    ['reconcile a --wait', ['a'], {action: 'reconcile', wait: true, timeoutMs: 60_000}],
    ['rollout undo a --to-revision 3', ['a'], {action: 'undo', wait: false, timeoutMs: 60_000, toRevision: 3}],
    ['rollout undo --source s --to-revision 1a2b3c4', [], {action: 'undo', source: 's', toRevision: '1a2b3c4'}],
    ['rollout resume --source s', [], {action: 'resume', source: 's'}],
    ['events', [], {watch: false, limit: 50}],
    ['events a -w --limit 3', ['a'], {watch: true, limit: 3}],
    ['worker --component athena', [], {component: 'athena'}],
    [
      'worker --component a --port 45001 --provider offline --model m --name n',
      [],
      {component: 'a', port: 45_001, provider: 'offline', model: 'm', name: 'n'},
    ],
    ['version -o json', [], {output: 'json'}],
  ])('%s', (line, args, options) => {
    expect(parse(line)).toEqual({args, options, home: undefined, color: true});
  });

  it('takes the global ones before and behind the verb', () => {
    expect(parse('--home /a --no-color status')).toMatchObject({home: '/a', color: false});
    expect(parse('status --no-color --home /a')).toMatchObject({home: '/a', color: false});
  });
});

describe('usage errors', () => {
  test.each([
    ['help nothing', "error: unknown command 'nothing'\nhint: tekton-ai --help lists the verbs\n"],
    ['gett', "error: unknown command 'gett'\n(Did you mean get?)\nhint: tekton-ai --help lists the verbs\n"],
    ['get --wath', "error: unknown option '--wath'\n(Did you mean --watch?)\nhint: tekton-ai get --help\n"],
    [
      'up --timeout 60',
      "error: option '--timeout <duration>' argument '60' is invalid. Expected a duration such as 500ms, 60s or 2m. Did you mean 60s?\n" +
        'hint: tekton-ai up --help\n',
    ],
    ['describe', "error: missing required argument 'name'\nhint: tekton-ai describe --help\n"],
    [
      'get -o xml',
      "error: option '-o, --output <format>' argument 'xml' is invalid. Allowed choices are table, wide, json, yaml, name.\n" +
        'hint: tekton-ai get --help\n',
    ],
    ['worker', "error: required option '--component <component>' not specified\nhint: tekton-ai worker --help\n"],
    [
      'status athena',
      "error: too many arguments for 'status'. Expected 0 arguments but got 1.\nhint: tekton-ai status --help\n",
    ],
  ])('%s ends with 4 and a hint', async (line, text) => {
    expect(await cli(line.split(' '))).toEqual({code: exitCodes.invalidInput, out: '', err: text});
  });
});

describe('help', () => {
  it('shows verbs, exit codes and environment variables', async () => {
    const {code, out, err} = await cli(['--help']);
    expect({code, err}).toEqual({code: 0, err: ''});
    expect(out).toMatchInlineSnapshot(`
     "Usage: tekton-ai <verb> [options]

     Declares a platform's AI specialists in one file, makes it so, and keeps it so.

     Options:
       -V, --version                print the version
       --home <folder>              state folder (default: $TEKTON_AI_HOME, then
                                    ~/.tekton/ai_registry)
       -n, --namespace <namespace>  only this namespace
       --fleet <name>               only this fleet
       --no-color                   no colours
       -h, --help                   show help

     Converge:
       up                           apply the file, keep it so in the background, and
                                    wait until all is Ready
       down                         stop the fleet and its controller; forgets
                                    nothing
       apply                        make it so once, with the controller where one
                                    runs
       run                          apply and keep it so in the foreground
       delete                       stop and forget a specialist that no file
                                    declares any more
       rollout                      restart, hold and take back: restart, status,
                                    history, undo, pause, resume
       sources                      list the git sources that are followed, or delete
                                    them
       suspend                      follow git sources no more, until they are
                                    resumed
       resume                       follow git sources again, from now on
       reconcile                    look at git sources now instead of when they are
                                    due

     Look before you leap:
       plan                         print what apply would do
       diff                         the same; ends with 0 same, 1 differs, above 1
                                    error
       validate                     check the file, change nothing
       config                       look at what the files declare

     Look and talk:
       get                          list specialists
       wait                         wait until specialists stand as wanted
       status                       components, ports, models, health and memory, and
                                    why something is not well
       describe                     everything about one specialist
       why                          what led to the state that one specialist is in,
                                    and what comes next
       logs                         print a specialist's log
       chat                         talk to a specialist; without a message,
                                    interactively
       sessions                     list the conversations that a specialist
                                    remembers, or delete them
       notify                       try the notifications that fleets declare
       canary                       ask a specialist its canary prompts now, and say
                                    how it did
       events                       what happened, oldest first
       usage                        requests, tokens and cost per specialist, of
                                    today (UTC) or longer; nothing needs to run
       top                          how busy the specialists are that run: chats,
                                    rates, latencies, memory

     More:
       worker                       run one specialist by hand: registers itself,
                                    serves, deregisters on exit
       version                      print the version
       help                         show help of a verb

     Examples:
       tekton-ai up                        converge tekton-ai.yaml and keep it so
       tekton-ai get -w                    watch the specialists
       tekton-ai chat athena "who are you?"
       tekton-ai diff && echo in sync

     Exit codes:
       0    ok                          4    invalid input or usage
       1    failed                      5    conflict, stale plan, or a lock is busy
       2    changes (where asked for)   130  interrupted
       3    not ready in time
       diff: 0 same, 1 differs, above 1 error

     Environment variables:
       TEKTON_AI_HOME         state folder (default ~/.tekton/ai_registry)
       TEKTON_REGISTER_AI     false: nothing is to run
       TEKTON_AI_PROVIDER     provider of every specialist
       <COMPONENT>_AI_MODEL   model of one component's specialist, e.g. ATHENA_AI_MODEL
       TEKTON_AI_DEBUG        1: stack traces of internal errors
       NO_COLOR               any value: no colours
     The second to the fourth are also read from .env.tekton beside the fleet file.
     "
    `);
  });

  it('is what a bare call prints', async () => {
    expect(await cli([])).toEqual(await cli(['--help']));
  });

  it('exists for each verb, with the global options', async () => {
    const {code, out} = await cli(['get', '--help']);
    expect(code).toBe(0);
    expect(out).toContain('--component <component>');
    expect(out).toContain('--home <folder>');
  });
});

describe('version', () => {
  it("is package.json's", () => {
    const {version: declared} = JSON.parse(readFileSync('package.json', 'utf8')) as {version: string};
    expect(version).toBe(declared);
  });

  it('prints as text and as JSON', async () => {
    expect(await cli(['version'])).toEqual({code: 0, out: `${version}\n`, err: ''});
    expect(await cli(['--version'])).toEqual({code: 0, out: `${version}\n`, err: ''});
    const {out} = await cli(['version', '-o', 'json']);
    expect(JSON.parse(out)).toMatchObject({version, apiVersion: 'tekton.ai/v1alpha1', node: process.versions.node});
  });
});
