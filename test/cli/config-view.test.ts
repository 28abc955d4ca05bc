/** `config view`: what comes out declares the same again, and says where it is from. */
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import path from 'node:path';
import {fileURLToPath} from 'node:url';
import {afterEach, beforeEach, expect, it, test} from '@jest/globals';
import {parse} from 'yaml';
import {shippedExpertise} from '../../src/expertise/catalogue.js';
import {loadFleets} from '../../src/spec/load.js';
import {cli} from './host.js';
import {makeState, type State} from './state.js';

let state: State;
let folder: string;

beforeEach(async () => {
  state = await makeState();
  folder = path.join(state.home, 'work');
});

afterEach(() => state.remove());

function write(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), {recursive: true});
    writeFileSync(path.join(folder, name), text);
  }
}

const view = (...argv: string[]) => cli(['config', 'view', ...argv], {home: state.home, cwd: folder, environment});

let environment: Readonly<Record<string, string>> = {};

const header = (name: string): string =>
  `apiVersion: tekton.ai/v1alpha1\nkind: Fleet\nmetadata: {name: ${name}}\nspec:\n`;

const layered = {
  'base/tekton-ai.yaml': `${header('base')}  variables:
    REGION: {default: eu}
  defaults: {provider: offline}
  specialists:
    - component: athena
      model: m-\${REGION}
      parameters: {stop: [a, b], seed: 7}
      env: {TOKEN: {file: ./token}, A: "$\${X}"}
    - {component: hermes, labels: {tier: front}}
`,
  'dev/tekton-ai.yaml': `${header('dev')}  bases: [../base]
  specialists:
    - {name: athena, parameters: {seed: 8}}
  patches:
    - target: {labels: {tier: front}}
      patch: {restartPolicy: OnFailure}
`,
};

it('says behind each value where it is from', async () => {
  write(layered);
  environment = {TEKTON_VAR_REGION: 'us', HERMES_AI_MODEL: 'other'};
  const {code, out, err} = await view('-f', 'dev', '--sources');
  expect({code, err}).toEqual({code: 0, err: ''});
  expect(out.replaceAll(folder, '<folder>')).toMatchInlineSnapshot(`
   "apiVersion: tekton.ai/v1alpha1
   kind: Fleet
   metadata:
     name: dev
   spec:
     ports:
       from: 45000
       to: 50000
     driftPolicy: heal
     specialists:
       - name: athena
         component: athena # base, base/tekton-ai.yaml:9
         parameters:
           # base, base/tekton-ai.yaml:11
           stop:
             - a
             - b
           seed: 8 # dev/tekton-ai.yaml:7
         env:
           TOKEN:
             file: <folder>/base/token # base, base/tekton-ai.yaml:12
           A: \${X} # base, base/tekton-ai.yaml:12
         provider: offline # defaults, base/tekton-ai.yaml:7
         model: m-us # variable REGION (environment), base/tekton-ai.yaml:10
       - name: hermes
         component: hermes # base, base/tekton-ai.yaml:13
         labels:
           tier: front
         restartPolicy: OnFailure # patch, dev/tekton-ai.yaml:10
         provider: offline # defaults, base/tekton-ai.yaml:7
         model: other # HERMES_AI_MODEL
   "
  `);
});

it('gives them by specialist as JSON', async () => {
  write(layered);
  environment = {};
  const {out} = await view('-f', 'dev', '--sources', '-o', 'json', '--var', 'REGION=us');
  expect(JSON.parse(out)).toMatchObject({
    fleets: [
      {
        metadata: {name: 'dev'},
        origins: {
          athena: {
            model: 'variable REGION (environment), base/tekton-ai.yaml:10',
            'parameters.seed': 'dev/tekton-ai.yaml:7',
          },
          hermes: {restartPolicy: 'patch, dev/tekton-ai.yaml:10', provider: 'defaults, base/tekton-ai.yaml:7'},
        },
      },
    ],
  });
});

const root = fileURLToPath(new URL('../..', import.meta.url));

const samples: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'of layers': layered,
  'of the project itself': {'dev/tekton-ai.yaml': readFileSync(path.join(root, 'tekton-ai.yaml'), 'utf8')},
  'with providers, fallbacks and a key': {
    'dev/tekton-ai.yaml': `${header('dev')}  providers:
    lab: {type: openai, baseUrl: http://127.0.0.1:8000/v1, apiKey: {file: ./lab.key}, defaultModel: qwen, prices: {"a.b:c": {input: 1, output: 2}}}
    ollama: {type: ollama, keepAlive: 5m}
    unused: {type: offline}
  defaults: {provider: lab, fallback: [{provider: lab}, {provider: offline}], budget: {tokensPerDay: 5}}
  specialists:
    - component: athena
      auth: {token: {env: ATHENA_TOKEN}}
      canary: {prompts: [{prompt: hello, contains: x}]}
    - {component: hermes, provider: auto, dependsOn: [athena]}
    - {component: numa, provider: ollama, expertise: {systemPrompt: "a\\nb"}}
`,
  },
  'with expertise, notifications and windows': {
    'dev/tekton-ai.yaml': `${header('dev')}  include: [more.yaml]
  ports: {from: 46000, to: 46100}
  driftPolicy: warn
  rollback: {deadlineSeconds: 9}
  dependsOn: [other]
  syncWindows: [{kind: deny, schedule: "0 9 * * 1", durationSeconds: 3600}]
  notifications:
    - {name: log, file: {path: /tmp/events.log}}
    - {name: hook, webhook: {url: {env: HOOK}, secret: {file: ./s}}, on: {types: [Warning]}}
`,
    'dev/more.yaml':
      'apiVersion: tekton.ai/v1alpha1\nkind: Specialist\nmetadata: {name: a, labels: {x: "y"}}\nspec: {component: athena, provider: offline}\n---\napiVersion: tekton.ai/v1alpha1\nkind: Expertise\nmetadata: {name: athena}\nspec: {title: Somebody, roles: [r]}\n',
  },
};

test.each(
  Object.entries(samples).flatMap(([what, files]) =>
    [{}, {TEKTON_AI_PROVIDER: 'offline', ATHENA_AI_MODEL: 'x', OLLAMA_HOST: '127.0.0.1:1'}].map(
      (variables): [string, string, typeof files, Readonly<Record<string, string>>] => [
        what,
        Object.keys(variables).length === 0 ? 'alone' : 'with overrides',
        files,
        variables,
      ],
    ),
  ),
)('declares the same again: one %s, %s', async (_, __, files, variables) => {
  write(files);
  environment = variables;
  const load = (text?: string) =>
    loadFleets({
      paths: [text === undefined ? 'dev' : '-'],
      cwd: folder,
      environment,
      readStdin: async function* () {
        yield await Promise.resolve(text ?? '');
      },
      shippedExpertise,
    });
  for (const flags of [[], ['--sources']]) {
    const {code, out} = await view('-f', 'dev', ...flags);
    expect(code).toBe(0);
    const [[before], [after]] = await Promise.all([load(), load(out)]);
    const about = (fleet = before) => ({
      ...fleet,
      ...{source: 0, files: 0, watch: 0, revision: 0, envFile: 0, notices: 0, overrides: 0},
      specialists: fleet?.specialists.map(({origins: _, ...rest}) => rest),
      notifications: fleet?.notifications?.map(({origin: _, ...rest}) => rest),
    });
    expect(about(after)).toEqual(about(before));
    expect(after?.specialists.length).toBeGreaterThan(0);
  }
});

it('says what stays in the environment', async () => {
  write({'tekton-ai.yaml': `${header('dev')}  specialists: [{component: athena, provider: ollama}]\n`});
  environment = {OLLAMA_HOST: '127.0.0.1:7'};
  const {out, err} = await view();
  const remark = 'OLLAMA_HOST counts for the built-in provider `ollama`, and stays in the environment';
  expect(err).toBe(`${remark}\n`);
  expect(out).toMatch(new RegExp(`^# ${remark}\n`));
});

it('prints several fleets as documents of one stream', async () => {
  const fleetOf = (name: string) => `${header(name)}  specialists: [{component: ${name}, provider: offline}]\n`;
  write({'tekton-ai.yaml': `${fleetOf('athena')}---\n${fleetOf('hermes')}`});
  environment = {};
  const {out} = await view();
  expect(out.split('---\n').map(text => (parse(text) as {metadata: unknown}).metadata)).toEqual([
    {name: 'athena'},
    {name: 'hermes'},
  ]);
});

it('is invalid where the files are', async () => {
  write({'tekton-ai.yaml': `${header('dev')}  variables: {X: {}}\n`});
  environment = {};
  expect(await view()).toMatchObject({code: 4, out: '', err: expect.stringContaining('--var X=…') as unknown});
});
