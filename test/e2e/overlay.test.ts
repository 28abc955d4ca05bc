/** A fleet that lies over another one, followed while the base is edited. */
import {expect, it} from '@jest/globals';
import {isReady, sandboxes} from './harness.js';

const sandbox = sandboxes();

it('an edit of a base reconfigures exactly those it affects, with the variables of the apply', async () => {
  const box = await sandbox();
  const base = (temperature: number) =>
    box.declare(
      {
        name: 'base',
        variables: {REGION: {enum: ['eu', 'us']}},
        specialists: [
          {component: 'athena', model: 'm-${REGION}', parameters: {temperature}},
          {component: 'numa', parameters: {temperature}},
          'hermes',
        ],
      },
      'base/tekton-ai.yaml',
    );
  await base(0.1);
  // numa's temperature is the overlay's own: an edit of the base's means nothing to it.
  await box.declare(
    {name: 'dev', bases: ['../base'], specialists: [{component: 'numa', parameters: {temperature: 0.9}}]},
    'dev/tekton-ai.yaml',
  );
  await box.ok(['up', '-f', 'dev', '--var', 'REGION=eu']);
  const pids = await box.pids();

  await base(0.5);

  const athena = await box.untilItem('athena', item => item.status.observedGeneration === 2 && isReady(item));
  expect(athena.spec).toMatchObject({model: 'm-eu', parameters: {temperature: 0.5}});
  const generations = (await box.items()).map(({metadata}) => [metadata.name, metadata.generation]);
  expect(Object.fromEntries(generations)).toEqual({athena: 2, hermes: 1, numa: 1});
  expect(await box.pids()).toEqual(pids);
  expect((await box.ok(['get'])).stderr).toBe('');
});
