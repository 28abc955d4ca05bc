/** What specialists use, and budgets that hold: counted on disk, whoever is killed. */
import {expect, it} from '@jest/globals';
import {conditionText, isReady, kill, sandboxes} from './harness.js';

const sandbox = sandboxes();

const script = `
rules:
  - reply: '{{component}} knows.'
    inputTokens: 60
    outputTokens: 40
`;

interface Report {
  readonly items: readonly {readonly name?: string; readonly model?: string; readonly requests: number}[];
  readonly total: object;
}

it('holds a hard budget through a kill -9, sums what was used, and finds the least busy with a role', async () => {
  const box = await sandbox();
  await box.write('answers.yaml', script);
  await box.declare({
    providers: {lab: {type: 'scripted', script: './answers.yaml', prices: {'llama3.3:70b': {input: 100, output: 500}}}},
    defaults: {provider: 'lab', model: 'llama3.3:70b', probes: {periodSeconds: 1}},
    specialists: [
      {component: 'apollo', expertise: {roles: ['code-analysis']}},
      {component: 'athena', expertise: {roles: ['code-analysis']}, budget: {tokensPerDay: 200, mode: 'hard'}},
      {component: 'hermes', expertise: {roles: ['mail']}, budget: {costPerDay: 0.02, mode: 'soft'}},
    ],
  });
  await box.ok(['up', '--timeout', '60s']);
  expect((await box.ok(['chat', 'athena', 'one'])).stdout).toBe('athena knows.\n');
  await box.ok(['chat', 'athena', 'two']);
  const spent = await box.untilItem('athena', item => conditionText(item, 'Ready').includes('BudgetExceeded'));
  expect(conditionText(spent, 'Ready')).toContain('200 tokens is spent; chats are refused until midnight UTC');
  const refused = await box.run(['chat', 'athena', 'three']);
  expect(refused).toMatchObject({exitCode: 1, stdout: ''});

  kill(await box.pidOf('athena'), 'SIGKILL');
  await box.untilItem(
    'athena',
    item => item.status.restarts === 1 && conditionText(item, 'Ready').includes('BudgetExceeded'),
  );

  for (const _ of [1, 2]) await box.ok(['chat', 'hermes', 'hi']); // soft: answered all the same
  const role = await box.ok(['chat', '--role', 'code-analysis', 'who', 'knows?']);
  expect(role).toMatchObject({stdout: 'apollo knows.\n'});
  expect(role.stderr).toContain('apollo has the role code-analysis: the only one that is Ready');
  const unknown = await box.run(['chat', '--role', 'code-analisys', 'hi']);
  expect(unknown).toMatchObject({exitCode: 4, stdout: ''});
  expect(unknown.stderr).toMatch(/did you mean `code-analysis`\? known: code-analysis, mail/);

  const top = await box.ok(['top']);
  expect(top.stdout).toMatch(/^NAME +STATUS +ACTIVE +QUEUED +REQ\/MIN/);
  expect(top.stdout).toMatch(/^apollo +Ready +0 +0 +\d/m);

  const events = (await box.ok(['events', '--limit', '200'])).stdout;
  expect(events.match(/BudgetExceeded .*athena/g) ?? events.match(/athena.*BudgetExceeded/g)).toHaveLength(1);
  await box.untilItem('hermes', isReady);

  await box.ok(['down', '--timeout', '30s']);
  const usage = async (...args: string[]): Promise<Report> =>
    JSON.parse((await box.ok(['usage', '-o', 'json', ...args])).stdout) as Report;
  const {items, total} = await usage();
  expect(items).toMatchObject([
    {name: 'apollo', requests: 1, inputTokens: 60, outputTokens: 40, cost: 0.026},
    {
      ...{name: 'athena', requests: 2, inputTokens: 120},
      budget: {exceeded: true, tokensToday: 200, tokensPerDay: 200},
    },
    {name: 'hermes', requests: 2, budget: {exceeded: true, mode: 'soft'}},
  ]);
  expect(total).toMatchObject({requests: 5, inputTokens: 300, outputTokens: 200});
  expect((await usage('--by', 'model', '--since', '7d')).items).toMatchObject([
    {provider: 'lab', model: 'llama3.3:70b', requests: 5},
  ]);
  expect((await usage('--day', '2020-01-01', 'athena')).items).toMatchObject([{name: 'athena', requests: 0}]);
});
