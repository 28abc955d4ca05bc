/** What somebody who can push to a followed repository can do to this machine. */
import {createServer} from 'node:http';
import type {AddressInfo} from 'node:net';
import {existsSync} from 'node:fs';
import {chmod, mkdir, readdir, readFile, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {afterEach, beforeEach, expect} from '@jest/globals';
import type {GitSourceStatus} from '../../src/api/git-source.js';
import {describeGit, gitTest, TestRepository, type TestFile} from '../fakes/git.js';
import {startOpenAi} from '../fakes/openai-server.js';
import {isReady, sandboxes, type Sandbox} from './harness.js';

const sandbox = sandboxes();
let repository: TestRepository;

beforeEach(() => {
  repository = new TestRepository({parent: '/tmp'});
});

afterEach(() => repository.remove());

const secret = 'do-not-tell-5c1e';

/** Of the operator. No word of theirs on Ollama, which would count for more than the repository's. */
const env = {SOME_SECRET: secret, OLLAMA_HOST: ''};

/** What a revision declares beside one specialist. */
interface Declared {
  /** Line 7. */
  readonly line?: string;
  /** Fields of athena, in line 8. */
  readonly fields?: string;
  /** Behind the fleet. */
  readonly documents?: string;
  readonly files?: Readonly<Record<string, TestFile>>;
}

interface Attack extends Declared {
  readonly what: string;
  readonly reason: GitSourceStatus['reason'];
  /** Where, then what: parts of the message. */
  readonly said: readonly [place: string, what: string];
}

const fleetFile = 'envs/dev/tekton-ai.yaml';

class Pushes {
  private extra: readonly string[] = [];

  constructor(private readonly box: Sandbox) {}

  /** A revision with this and nothing of the one before. */
  push({line = '  # nothing more', fields = '', documents = '', files = {}}: Declared, temperature = 0.1): string {
    const {host, ports} = this.box;
    const fleet = `apiVersion: tekton.ai/v1alpha1
kind: Fleet
metadata: {name: dev}
spec:
  ports: {from: ${ports.from}, to: ${ports.to}}
  defaults: {provider: offline, host: ${host}, parameters: {temperature: ${temperature}}}
${line}
  specialists: [{component: athena${fields}}]
${documents}`;
    const gone = Object.fromEntries(this.extra.map(path => [path, undefined]));
    this.extra = Object.keys(files);
    return repository.push({...gone, [fleetFile]: fleet, ...files});
  }
}

async function follow(): Promise<{box: Sandbox; pushes: Pushes; good: string}> {
  const box = await sandbox();
  const pushes = new Pushes(box);
  const good = pushes.push({});
  const flags = ['--git', repository.url, '--path', 'envs/dev', '--name', 'platform', '--interval', '1h'];
  await box.ok(['up', ...flags], {env});
  return {box, pushes, good};
}

async function sourceStatus(box: Sandbox): Promise<GitSourceStatus> {
  const {stdout} = await box.ok(['sources', 'platform', '-o', 'json']);
  return (JSON.parse(stdout) as {readonly status: GitSourceStatus}).status;
}

function reconcile(box: Sandbox) {
  return box.run(['reconcile', 'platform', '--wait'], {env});
}

/** Files below a folder that hold the text. Links are not followed: what they lead to is not in there. */
async function filesWith(text: string, folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, {withFileTypes: true, recursive: true});
  const files = entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name));
  const found = await Promise.all(
    files.map(async file => ((await readFile(file).catch(() => '')).includes(text) ? [file] : [])),
  );
  return found.flat();
}

/** Listens on loopback, where a repository may send what is its own, and notes everybody who comes. */
async function sniffer(): Promise<{url: string; heard: string[]; close: () => void}> {
  const heard: string[] = [];
  const server = createServer((request, response) => {
    heard.push(`${request.method} ${request.url} ${JSON.stringify(request.headers)}`);
    response.writeHead(500).end();
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return {url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, heard, close: () => server.close()};
}

const lab = (baseUrl: string, more = ''): Declared => ({
  line: `  providers: {lab: {type: openai, baseUrl: '${baseUrl}/v1'${more}}}`,
  fields: ', provider: lab, model: m',
});

function attacks(box: Sandbox, listener: string): readonly Attack[] {
  const outside = join(box.folder, 'outside');
  return [
    {
      what: 'an include through a link to a folder of the machine',
      line: '  include: [etc/passwd]',
      files: {'envs/dev/etc': {link: '/etc'}},
      reason: 'SourceInvalid',
      said: [`${fleetFile}:7:13: `, `cannot include \`etc/passwd\`: a symbolic link leads out of the repository`],
    },
    {
      what: 'a base through a link',
      line: '  bases: [base]',
      files: {'envs/dev/base': {link: outside}},
      reason: 'SourceInvalid',
      said: [`${fleetFile}:7:11: `, `cannot read the base \`base\`: a symbolic link leads out of the repository`],
    },
    {
      what: 'a file of the machine as the key of a listener on loopback',
      ...lab(listener, ', apiKey: {file: /etc/passwd}'),
      reason: 'PolicyViolation',
      said: [`${fleetFile}:7:1: `, `the key of provider \`lab\`, the file /etc/passwd, may not be sent to ${listener}`],
    },
    {
      what: 'a key file of the repository that is a link',
      ...lab(listener, ', apiKey: {file: key}'),
      files: {'envs/dev/key': {link: join(outside, 'key')}},
      reason: 'SourceInvalid',
      said: [`${fleetFile}:7:`, ': a symbolic link leads out of the repository'],
    },
    {
      what: 'a secret of the operator as the key of a listener on loopback',
      ...lab(listener, ', apiKey: {env: SOME_SECRET}'),
      reason: 'PolicyViolation',
      said: [
        `${fleetFile}:7:1: `,
        `the key of provider \`lab\`, the variable SOME_SECRET, may not be sent to ${listener}`,
      ],
    },
    {
      what: 'a provider on another machine',
      ...lab('http://192.0.2.1:8000'),
      reason: 'PolicyViolation',
      said: [`${fleetFile}:7:1: `, `provider \`lab\` may not speak to http://192.0.2.1:8000`],
    },
    {
      what: "another Ollama by the repository's own variables",
      fields: ', provider: ollama, model: m',
      files: {'envs/dev/.env.tekton': 'OLLAMA_HOST=http://192.0.2.1:11434\n'},
      reason: 'PolicyViolation',
      said: ['envs/dev/.env.tekton:1:1: ', 'provider `ollama` may not speak to http://192.0.2.1:11434'],
    },
    {
      what: 'code that Node loads',
      fields: `, env: {NODE_OPTIONS: '--require ${outside}/x.cjs'}`,
      reason: 'SourceInvalid',
      said: [`${fleetFile}:8:`, ': `NODE_OPTIONS` may not be set: Node loads code or data through it'],
    },
    {
      what: 'a proxy',
      fields: `, env: {HTTPS_PROXY: '${listener}'}`,
      reason: 'PolicyViolation',
      said: [`${fleetFile}:8:1: `, `\`HTTPS_PROXY\` may not be set by a repository`],
    },
    {
      what: 'a program that is told of events',
      line: `  notifications: [{name: ops, on: {types: [Normal, Warning]}, command: {argv: [/usr/bin/touch, '${outside}/ran']}}]`,
      reason: 'PolicyViolation',
      said: [`${fleetFile}:7:1: `, `notification \`ops\`: it may not run /usr/bin/touch`],
    },
    {
      what: 'a repository that this one says is to be followed',
      documents: `---
apiVersion: tekton.ai/v1alpha1
kind: GitSource
metadata: {name: other}
spec: {url: '${repository.url}', path: envs/dev}
`,
      reason: 'SourceInvalid',
      said: [`${fleetFile}:11:7: `, 'a GitSource cannot be declared here'],
    },
    {
      what: 'a policy of its own',
      documents: `---
apiVersion: tekton.ai/v1alpha1
kind: Policy
metadata: {name: local}
spec: {sources: [{match: {name: '*'}, hosts: ['*']}]}
`,
      reason: 'SourceInvalid',
      said: [`${fleetFile}:11:7: `, 'a policy is no part of a fleet'],
    },
    {
      what: 'a secret of the operator as a token that a specialist shows',
      fields: ', auth: {token: {env: SOME_SECRET}}',
      reason: 'PolicyViolation',
      said: [`${fleetFile}:8:1: `, `the variable SOME_SECRET may not go into a specialist's token`],
    },
  ];
}

const policyText = (rule: string): string => `apiVersion: tekton.ai/v1alpha1
kind: Policy
metadata: {name: local}
spec:
  sources:
    - {match: {name: default/platform}, ${rule}}
`;

async function writePolicy(box: Sandbox, rule: string): Promise<string> {
  const file = join(box.home, 'policy.yaml');
  await writeFile(file, policyText(rule), {mode: 0o600});
  return file;
}

describeGit('a repository in the hands of somebody else', () => {
  gitTest(
    'gets nothing of this machine, and the last good revision stays in force',
    async () => {
      const {box, pushes, good} = await follow();
      const outside = join(box.folder, 'outside');
      await mkdir(outside);
      await writeFile(join(outside, 'key'), secret);
      await writeFile(join(outside, 'base.yaml'), `kind: ${secret}\n`);
      const pid = await box.pidOf('athena');
      const listener = await sniffer();
      const [user = ''] = (await readFile('/etc/passwd', 'utf8')).split('\n');
      expect(user).not.toBe('');
      try {
        for (const {
          what,
          reason,
          said: [place, text],
          ...declared
        } of attacks(box, listener.url)) {
          const bad = pushes.push(declared, 0.9);
          const {exitCode, stderr} = await reconcile(box);
          const {message, ...status} = await sourceStatus(box);
          expect({what, exitCode, ...status, message}).toMatchObject({
            ...{what, exitCode: 1, ready: 'False', reason, revision: good, seen: bad},
            message: expect.stringContaining(place),
          });
          expect(message).toContain(text);
          expect({what, stderr}).toEqual({what, stderr: expect.stringContaining(`platform: ${reason}: `)});
          expect(stderr).not.toContain(secret);
          const athena = await box.item('athena');
          expect(athena).toMatchObject({
            spec: {parameters: {temperature: 0.1}},
            status: {restarts: 0, instance: {identity: {pid}}},
          });
          expect(isReady(athena)).toBe(true);
          expect({what, files: await filesWith(secret, box.home)}).toEqual({what, files: []});
          expect({what, files: await filesWith(user, box.home)}).toEqual({what, files: []});
        }
      } finally {
        listener.close();
      }
      expect(listener.heard).toEqual([]);
      expect(existsSync(join(outside, 'ran'))).toBe(false);
      expect((await box.ok(['chat', 'athena', 'hello'])).stdout).not.toBe('');

      const better = pushes.push({}, 0.2);
      expect(await reconcile(box)).toMatchObject({exitCode: 0});
      expect(await sourceStatus(box)).toMatchObject({ready: 'True', reason: 'UpToDate', revision: better});
      await box.untilItem(
        'athena',
        item => isReady(item) && 'parameters' in item.spec && item.spec.parameters.temperature === 0.2,
      );
    },
    180_000,
  );

  gitTest(
    'gets what the policy allows it, and no more',
    async () => {
      const {box, pushes, good} = await follow();
      const model = await startOpenAi({models: ['m']});
      try {
        const origin = new URL(model.url).origin;
        const declared: Declared = {
          line: `  providers: {lab: {type: openai, baseUrl: '${model.url}/v1', apiKey: {env: SOME_SECRET}}}`,
          fields: ', provider: lab, model: m, auth: {token: {env: SOME_SECRET}}',
        };
        const wanted = pushes.push(declared);
        expect(await reconcile(box)).toMatchObject({exitCode: 1});
        await writePolicy(box, `secrets: [{env: SOME_SECRET, use: [auth]}]`);
        expect(await reconcile(box)).toMatchObject({exitCode: 1});
        const {reason, message, revision} = await sourceStatus(box);
        expect({reason, message, revision}).toEqual({
          ...{reason: 'PolicyViolation', revision: good},
          message: expect.stringContaining(`the variable SOME_SECRET, may not be sent to ${origin}`),
        });
        expect(message).not.toContain("a specialist's token");
        expect(model.requests).toEqual([]);

        await writePolicy(box, `secrets: [{env: SOME_SECRET, use: [auth], hosts: ['${origin}']}]`);
        expect(await reconcile(box)).toMatchObject({exitCode: 0});
        expect(await sourceStatus(box)).toMatchObject({reason: 'UpToDate', revision: wanted});
        await box.untilItem('athena', isReady);
        expect((await box.ok(['chat', 'athena', 'hello'], {env})).stdout).toBe('You said: hello\n');
        expect(model.requests.map(({headers}) => headers.authorization)).toContain(`Bearer ${secret}`);
        expect(await filesWith(secret, box.home)).toEqual([]);
      } finally {
        await model.close();
      }
    },
    120_000,
  );

  gitTest(
    'gets nothing new while others could have written the policy',
    async () => {
      const {box, pushes, good} = await follow();
      const pid = await box.pidOf('athena');
      const file = await writePolicy(box, "bind: ['0.0.0.0']");
      await chmod(file, 0o666);
      const next = pushes.push({}, 0.2);
      const refused = await reconcile(box);
      expect(refused.exitCode).toBe(1);
      expect(refused.stderr).toContain(`cannot use the policy ${file}: others than its owner can write it`);
      expect(await sourceStatus(box)).toMatchObject({ready: 'False', revision: good});
      expect(await box.pidOf('athena')).toBe(pid);
      await chmod(file, 0o600);
      expect(await reconcile(box)).toMatchObject({exitCode: 0});
      expect(await sourceStatus(box)).toMatchObject({ready: 'True', revision: next});
    },
    60_000,
  );
});
