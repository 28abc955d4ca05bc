/** The formats of `diff`, `plan` and `validate` that tools read. */
import {readFileSync} from 'node:fs';
import {describe, expect, it, test} from '@jest/globals';
import {Ajv} from 'ajv';
import {convert} from 'xmlbuilder2';
import {InvalidInputError, SourceUnavailableError} from '../../../src/api/errors.js';
import {githubText} from '../../../src/cli/review/github.js';
import {qualityIssues} from '../../../src/cli/review/gitlab.js';
import {junitText} from '../../../src/cli/review/junit.js';
import {commentBytes, markdownText} from '../../../src/cli/review/markdown.js';
import {placesIn, reviewOf, reviewOfError} from '../../../src/cli/review/review.js';
import type {Review} from '../../../src/cli/review/review.js';
import {sarifLog} from '../../../src/cli/review/sarif.js';
import type {Json} from '../../../src/api/types.js';
import type {Action, Observed, Plan} from '../../../src/reconciler/types.js';
import {loaded} from '../../fakes/ports.js';
import {sampleDesired} from '../samples.js';

const file = '/repo/envs/dev/tekton-ai.yaml';
const there = new Set([file, '/repo/envs/dev/.env.tekton', '/repo/envs/a b#c.yaml', '/etc/x.yaml']);
const placeOf = placesIn('/repo', '/repo/envs/dev', path => there.has(path));

function observed(name: string): Observed {
  return {aiId: `${name}-ai`, name, namespace: 'default', fleet: 'dev', component: name, state: 'running'};
}

function reconfigure(name: string, from: Json | undefined, to: Json | undefined, path = 'model'): Action {
  const origin = {type: 'file', file, line: 12} as const;
  return {
    type: 'reconfigure',
    desired: sampleDesired({name}),
    observed: observed(name),
    changes: [{path, from, to, origin}],
  };
}

function review(actions: readonly Action[], more: Partial<Plan> = {}, remarks: readonly string[] = []): Review {
  const plan: Plan = {namespace: 'default', fleet: 'dev', actions, massPrune: false, ...more};
  const fleets = [loaded([], {files: [file]})];
  return reviewOf({verb: 'plan', plans: [plan], fleets, remarks, against: {name: 'main'}, placeOf});
}

const sample = review(
  [
    {type: 'prune', observed: observed('penia')},
    {
      type: 'create',
      reason: 'it is new',
      desired: sampleDesired({
        name: 'athena',
        declared: {component: 'athena', model: 'qwen3'},
        origins: {
          component: {type: 'file', file, line: 9},
          model: {type: 'env', variable: 'ATHENA_AI_MODEL', file: '/repo/envs/dev/.env.tekton'},
        },
      }),
    },
    reconfigure('hermes', 'a', 'b'),
    {
      type: 'restart',
      desired: sampleDesired({name: 'numa', namespace: 'lab'}),
      observed: observed('numa'),
      reason: 'a running worker cannot change its host',
      changes: [{path: 'host', from: '127.0.0.1', to: undefined, origin: {type: 'env', variable: 'HOST'}}],
    },
    {type: 'stop', desired: sampleDesired({name: 'apollo'}), observed: observed('apollo'), reason: 'disabled'},
    {type: 'block', desired: sampleDesired({name: 'terma'}), reason: 'Conflict', message: 'it belongs to fleet x'},
    {type: 'keep', desired: sampleDesired({name: 'sophia'}), observed: observed('sophia')},
  ],
  {massPrune: true},
  ['a remark'],
);

const problems = reviewOfError(
  new InvalidInputError([
    {
      file: 'tekton-ai.yaml',
      line: 9,
      column: 7,
      message: 'unknown field `modle`',
      hint: 'did you mean `model`?',
      excerpt: '  modle: a',
    },
    {file: 'tekton-ai.yaml', line: 3, column: 1, message: 'a%b: c,\nd'},
    {file: '<stdin>', line: 1, column: 1, message: 'not YAML'},
    {file: 'main:envs/dev/tekton-ai.yaml', line: 2, column: 1, message: 'of the other side'},
  ]),
  {verb: 'validate', placeOf},
);

const key = `sk-ant-${'0123456789abcdef'.repeat(3)}`;
/** Whatever could be taken for markup, a command or another line somewhere. */
const nasty = `|\`\`\`</details><script>alert(1)</script>@admin ![x](http://x/y) ##[error]\n::error::x\u202e\u0000 &amp; ${key}`;

describe('a review', () => {
  it('is what its schema says', () => {
    const schema = JSON.parse(readFileSync('specs/review.schema.json', 'utf8')) as object;
    const validate = new Ajv({strict: false}).compile(schema);
    for (const one of [sample, problems, review([])]) {
      expect(validate(JSON.parse(JSON.stringify(one)))).toBe(true);
      expect(validate.errors).toBeNull();
    }
    expect(validate({...sample, verb: 'apply'})).toBe(false);
  });

  it('counts, and says what differs', () => {
    expect(sample.counts).toEqual({
      create: 1,
      reconfigure: 1,
      restart: 1,
      leave: 0,
      stop: 1,
      prune: 1,
      block: 1,
      keep: 1,
    });
    expect([sample.differs, sample.valid, problems.differs, problems.valid]).toEqual([true, true, false, false]);
    expect(review([{type: 'keep', desired: sampleDesired({name: 'a'}), observed: observed('a')}]).differs).toBe(false);
  });

  it('names places from the top of the repository, and only those that are there', () => {
    expect(problems.problems.map(({place, message}) => [place, message])).toEqual([
      [undefined, '<stdin>:1:1: not YAML'],
      [undefined, 'main:envs/dev/tekton-ai.yaml:2:1: of the other side'],
      [{file: 'envs/dev/tekton-ai.yaml', line: 3, column: 1}, 'a%b: c,\nd'],
      [{file: 'envs/dev/tekton-ai.yaml', line: 9, column: 7}, 'unknown field `modle`'],
    ]);
    expect(placeOf('/etc/x.yaml', 2)).toEqual({file: '/etc/x.yaml', line: 2});
  });

  it('tells a source that could not be read as a problem', () => {
    const error = new SourceUnavailableError('cannot read x: there is no such file', {
      exitCode: 4,
      hint: 'name another',
    });
    expect(reviewOfError(error, {verb: 'plan', placeOf})).toMatchObject({
      summary: 'Invalid input: 1 problem.',
      problems: [{message: 'cannot read x: there is no such file', hint: 'name another'}],
    });
  });
});

describe('in every format', () => {
  const all = async (one: Review): Promise<readonly [string, string][]> => [
    ['json', JSON.stringify(one)],
    ['markdown', markdownText(one)],
    ['github', githubText(one)],
    ['junit', await junitText(one)],
    ['sarif', JSON.stringify(sarifLog(one))],
    ['gitlab', JSON.stringify(qualityIssues(one))],
  ];

  it('shows no key, in values, reasons and remarks', async () => {
    const one = review(
      [
        reconfigure('a', `x ${key}`, [{deep: key}]),
        reconfigure('b', 'plain', 'hunter2', 'provider.token'),
        {type: 'block', desired: sampleDesired({name: 'c'}), reason: 'Conflict', message: `because of ${key}`},
      ],
      {},
      [`look at ${key}`],
    );
    for (const [format, text] of await all(one)) {
      expect([format, /0123456789|hunter2/.test(text)]).toEqual([format, false]);
    }
    const error = new SourceUnavailableError(`cannot read ${key}`, {hint: key});
    for (const [format, text] of await all(reviewOfError(error, {verb: 'diff', placeOf}))) {
      expect([format, text.includes('0123456789')]).toEqual([format, false]);
    }
  });

  it('is the same each time', async () => {
    expect(await all(sample)).toEqual(await all(sample));
  });

  it('lets no value break out', async () => {
    const one = review([reconfigure('a', nasty, nasty.replaceAll('\n', ' '))], {}, [nasty]);
    expect(
      githubText(one)
        .split('\n')
        .filter(line => !/^(::(notice|warning) |tekton-ai: |$)/.test(line)),
    ).toEqual([]);
    expect(githubText(one)).not.toContain('##[');
    const markdown = markdownText(one);
    expect(markdown.match(/<\/details>$/gm)).toHaveLength(1);
    // What stands outside of code has none of it.
    const outside = markdown
      .replaceAll(/^(`{3,})diff\n[^]*?\n\1$/gm, '')
      .replaceAll(/(?<!`)(`+)(?!`)[^]*?(?<!`)\1(?!`)/g, '');
    expect(outside).not.toMatch(/script|@admin|!\[|amp;/);
    expect(await junitText(one)).not.toContain('<script');
    for (const [format, text] of await all(one)) {
      if (format !== 'json') {
        expect([format, ['\u0000', '\u202e'].some(one => text.includes(one))]).toEqual([format, false]);
      }
    }
  });
});

describe('markdown', () => {
  it('is a summary, a table, and the changes', () => {
    expect(markdownText(sample)).toMatchInlineSnapshot(`
     "### tekton-ai plan against \`main\`

     **Plan: 1 to create, 1 to reconfigure, 1 to restart, 1 to stop, 1 to prune, 1 blocked, 1 unchanged.**

     | | specialist | why |
     |---|---|---|
     | \`- prune\` | \`penia\` | \`it is no longer declared\` |
     | \`+ create\` | \`athena\` | \`athena, ollama:llama3.3:70b: it is new\` |
     | \`~ reconfigure\` | \`hermes\` | \`model\` |
     | \`-/+ restart\` | \`lab/numa\` | \`a running worker cannot change its host: host\` |
     | \`- stop\` | \`apollo\` | \`disabled\` |
     | \`! blocked\` | \`terma\` | \`Conflict: it belongs to fleet x\` |

     - \`more than half of fleet dev would be pruned: that needs --yes\`
     - \`a remark\`

     <details><summary>create athena &#40;1&#41;</summary>

     \`\`\`diff
     @@ model @@ ATHENA_AI_MODEL in envs/dev/.env.tekton
     + "qwen3"
     \`\`\`

     </details>

     <details><summary>reconfigure hermes &#40;1&#41;</summary>

     \`\`\`diff
     @@ model @@ envs/dev/tekton-ai.yaml:12
     - "a"
     + "b"
     \`\`\`

     </details>

     <details><summary>restart lab/numa &#40;1&#41;</summary>

     \`\`\`diff
     @@ host @@ HOST
     - "127.0.0.1"
     \`\`\`

     </details>
     "
    `);
  });

  it('lists problems at their places', () => {
    expect(markdownText(problems)).toMatchInlineSnapshot(`
     "### tekton-ai validate

     **Invalid input: 4 problems.**

     - \`<stdin>:1:1: not YAML\`
     - \`main:envs/dev/tekton-ai.yaml:2:1: of the other side\`
     - \`envs/dev/tekton-ai.yaml:3:1\` \`a%b: c, d\`
     - \`envs/dev/tekton-ai.yaml:9:7\` \`\` unknown field \`modle\` \`\`<br>\`modle: a\`<br>\`\` did you mean \`model\`? \`\`
     "
    `);
  });

  it('shows a text of several lines as lines', () => {
    const text = markdownText(review([reconfigure('a', 'one\ntwo\n', 'one\nthree')]));
    expect(text).toContain('- one\n- two\n+ one\n+ three\n');
  });

  it('keeps within what a comment may have, and says what is left out', () => {
    const many = Array.from({length: 900}, (_, index) => reconfigure(`a${index}`, 'ä'.repeat(90), 'ö'.repeat(90)));
    const text = markdownText(review(many));
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(commentBytes);
    expect(Buffer.byteLength(text)).toBeGreaterThan(commentBytes / 2);
    expect(text).toMatch(/\n_\d+ more parts are left out: the text is too long\._\n$/);
    // No table, fence or fold is left open.
    expect(text.match(/<details>/g)).toHaveLength((text.match(/<\/details>/g) ?? []).length);
    expect(markdownText(review(many.slice(0, 10)))).not.toContain('left out');
  });
});

describe('workflow commands', () => {
  it('stand at the lines that they are about', () => {
    expect(githubText(sample)).toMatchInlineSnapshot(`
     "::warning file=envs/dev/tekton-ai.yaml,title=tekton-ai plan against main::prune penia: it is no longer declared
     ::notice file=envs/dev/tekton-ai.yaml,line=9,title=tekton-ai plan against main::create athena: it is new (model: (not set) -> "qwen3")
     ::notice file=envs/dev/tekton-ai.yaml,line=12,title=tekton-ai plan against main::reconfigure hermes (model: "a" -> "b")
     ::warning file=envs/dev/tekton-ai.yaml,title=tekton-ai plan against main::restart lab/numa: a running worker cannot change its host (host: "127.0.0.1" -> (not set))
     ::warning file=envs/dev/tekton-ai.yaml,title=tekton-ai plan against main::stop apollo: disabled
     ::warning file=envs/dev/tekton-ai.yaml,title=tekton-ai plan against main::block terma: Conflict: it belongs to fleet x
     ::warning file=envs/dev/tekton-ai.yaml,title=tekton-ai plan against main::more than half of fleet dev would be pruned: that needs --yes
     ::notice title=tekton-ai plan against main::a remark
     tekton-ai: Plan: 1 to create, 1 to reconfigure, 1 to restart, 1 to stop, 1 to prune, 1 blocked, 1 unchanged.
     "
    `);
    expect(githubText(problems)).toMatchInlineSnapshot(`
     "::error title=tekton-ai validate::<stdin>:1:1: not YAML
     ::error title=tekton-ai validate::main:envs/dev/tekton-ai.yaml:2:1: of the other side
     ::error file=envs/dev/tekton-ai.yaml,line=3,col=1,title=tekton-ai validate::a%25b: c,%0Ad
     ::error file=envs/dev/tekton-ai.yaml,line=9,col=7,title=tekton-ai validate::unknown field \`modle\` (did you mean \`model\`?)
     tekton-ai: Invalid input: 4 problems.
     "
    `);
  });
});

interface XmlCase {
  readonly '@name': string;
  readonly '@file'?: string;
  readonly failure?: {readonly '@type': string; readonly '@message': string};
}

interface XmlReport {
  readonly testsuites: {
    readonly '@tests': string;
    readonly '@failures': string;
    readonly testsuite: {readonly '@name': string; readonly '@tests': string; readonly testcase: readonly XmlCase[]};
  };
}

describe('junit', () => {
  const parse = (text: string) => convert(text, {format: 'object'}) as unknown as XmlReport;

  it('has a case for each specialist; of a plan, what is blocked has failed', async () => {
    const {testsuites} = parse(await junitText(sample));
    expect(testsuites).toMatchObject({'@tests': '8', '@failures': '2', testsuite: {'@name': 'dev', '@tests': '8'}});
    const failed = testsuites.testsuite.testcase.flatMap(({'@name': name, failure}) =>
      failure ? [[name, failure['@type']]] : [],
    );
    expect(failed).toEqual([
      ['terma', 'block'],
      ['prunes no more than half', 'MassPrune'],
    ]);
  });

  it('fails of a diff what differs', async () => {
    const {testsuites} = parse(await junitText({...sample, verb: 'diff'}));
    expect(testsuites).toMatchObject({'@tests': '8', '@failures': '7'});
  });

  it('has a failed case for each problem', async () => {
    const {testsuites} = parse(await junitText(problems));
    expect(testsuites).toMatchObject({'@tests': '4', '@failures': '4', testsuite: {'@name': 'problems'}});
    expect(testsuites.testsuite.testcase.at(-1)).toMatchObject({
      '@name': 'envs/dev/tekton-ai.yaml:9:7: unknown field `modle`',
      '@file': 'envs/dev/tekton-ai.yaml',
      failure: {'@type': 'InvalidInput', '@message': 'unknown field `modle` (did you mean `model`?)'},
    });
  });
});

describe('sarif', () => {
  it('has what code scanning asks for', () => {
    const [run] = sarifLog(sample).runs;
    expect(sarifLog(sample)).toMatchObject({version: '2.1.0', runs: [{tool: {driver: {name: 'tekton-ai'}}}]});
    const results = run?.results ?? [];
    const rules = run?.tool.driver.rules ?? [];
    expect(results.map(({ruleId, level}) => `${level} ${ruleId}`)).toEqual([
      'warning prune',
      'note create',
      'note reconfigure',
      'warning restart',
      'warning stop',
      'error block',
      'warning mass-prune',
    ]);
    for (const {ruleId, ruleIndex, locations, message} of results) {
      expect(rules[ruleIndex ?? -1]?.id).toBe(ruleId);
      expect(message.text).not.toBe('');
      expect(locations?.[0]?.physicalLocation).toMatchObject({
        artifactLocation: {uri: 'envs/dev/tekton-ai.yaml', uriBaseId: '%SRCROOT%'},
        region: {startLine: expect.any(Number) as unknown},
      });
    }
  });

  test.each<[string, string, object]>([
    ['a blank and a sign', '/repo/envs/a b#c.yaml', {uri: 'envs/a%20b%23c.yaml', uriBaseId: '%SRCROOT%'}],
    ['a file outside', '/etc/x.yaml', {uri: 'file:///etc/x.yaml'}],
  ])('writes %s as an address', (_, path, location) => {
    const error = new InvalidInputError([{file: path, line: 2, column: 3, message: 'no'}]);
    const [run] = sarifLog(reviewOfError(error, {verb: 'validate', placeOf})).runs;
    expect(run?.results?.[0]?.locations?.[0]?.physicalLocation).toEqual({
      artifactLocation: location,
      region: {startLine: 2, startColumn: 3},
    });
  });

  it('gives a finding the same fingerprint on another line, and two alike two', () => {
    const at = (...lines: number[]) =>
      sarifLog(
        reviewOfError(
          new InvalidInputError(lines.map(line => ({file: 'tekton-ai.yaml', line, column: 1, message: 'no'}))),
          {verb: 'validate', placeOf},
        ),
      ).runs[0]?.results?.map(({partialFingerprints}) => partialFingerprints?.['tektonAi/v1']) ?? [];
    expect(at(3)).toEqual(at(8));
    expect(new Set(at(3, 8)).size).toBe(2);
  });
});

it('reports to GitLab what is in a file', () => {
  const issues = qualityIssues(problems);
  expect(issues).toHaveLength(2);
  expect(issues[1]).toEqual({
    description: 'unknown field `modle` (did you mean `model`?)',
    check_name: 'tekton-ai/invalid-input',
    fingerprint: expect.stringMatching(/^[0-9a-f]{32}$/) as unknown,
    severity: 'major',
    location: {path: 'envs/dev/tekton-ai.yaml', lines: {begin: 9}},
  });
  expect(new Set(qualityIssues(sample).map(({fingerprint}) => fingerprint)).size).toBe(7);
});
