import {describe, expect, it} from '@jest/globals';
import {differs, planText} from '../../../src/cli/print/plan.js';
import {styleFor} from '../../../src/cli/print/style.js';
import type {Action, Observed, Plan} from '../../../src/reconciler/types.js';
import {sampleDesired, sampleSpec} from '../samples.js';

const options = {style: styleFor(false), cwd: '/fleet'};
const file = '/fleet/tekton-ai.yaml';

function observed(name: string): Observed {
  return {aiId: `${name}-ai`, name, namespace: 'default', fleet: 'dev', component: name, state: 'running'};
}

function planOf(actions: readonly Action[], massPrune = false): Plan {
  return {namespace: 'default', fleet: 'dev', actions, massPrune};
}

describe('a plan', () => {
  it('prints every step with what changes, from where, and why', () => {
    const plan = planOf([
      {type: 'prune', observed: observed('penia')},
      {
        type: 'create',
        reason: 'it is new',
        desired: sampleDesired({
          name: 'athena',
          declared: {component: 'athena', model: 'qwen3'},
          origins: {
            component: {type: 'file', file, line: 9},
            model: {type: 'env', variable: 'ATHENA_AI_MODEL', file: '/fleet/.env.tekton'},
          },
        }),
      },
      {
        type: 'reconfigure',
        desired: sampleDesired({name: 'hermes'}),
        observed: observed('hermes'),
        changes: [
          {path: 'model', from: 'a', to: 'b', origin: {type: 'fleet-default', file, line: 12}},
          {path: 'parameters.temperature', from: undefined, to: 0.2, origin: {type: 'file', file, line: 14}},
          {path: 'dependsOn', from: ['athena'], to: undefined, origin: undefined},
        ],
      },
      {
        type: 'restart',
        desired: sampleDesired({name: 'numa', namespace: 'lab'}),
        observed: observed('numa'),
        reason: 'a running worker cannot change its host',
        changes: [{path: 'host', from: '127.0.0.1', to: '::1', origin: {type: 'env', variable: 'HOST'}}],
      },
      {type: 'stop', desired: sampleDesired({name: 'apollo'}), observed: observed('apollo'), reason: 'disabled'},
      {type: 'block', desired: sampleDesired({name: 'terma'}), reason: 'Conflict', message: 'it belongs to fleet x'},
      {type: 'keep', desired: sampleDesired({name: 'sophia'}), observed: observed('sophia')},
    ]);
    expect(planText([plan], options)).toMatchInlineSnapshot(`
     "  - prune penia
       + create athena (athena, ollama:llama3.3:70b): it is new
           model: "qwen3"  (ATHENA_AI_MODEL in .env.tekton)
       ~ reconfigure hermes
           model: "a" -> "b"  (defaults, tekton-ai.yaml:12)
           parameters.temperature: (not set) -> 0.2  (tekton-ai.yaml:14)
           dependsOn: ["athena"] -> (not set)
     -/+ restart lab/numa because a running worker cannot change its host
           host: "127.0.0.1" -> "::1"  (HOST)
       - stop apollo: disabled
       ! blocked terma: Conflict: it belongs to fleet x

     Plan: 1 to create, 1 to reconfigure, 1 to restart, 1 to stop, 1 to prune, 1 blocked, 1 unchanged.
     "
    `);
    expect(differs(plan)).toBe(true);
  });

  it('says so when nothing changes', () => {
    const keep: Action = {type: 'keep', desired: sampleDesired({name: 'athena'}), observed: observed('athena')};
    expect(planText([planOf([keep])], options)).toBe('No changes. 1 specialist is as declared.\n');
    expect(planText([planOf([keep, keep])], options)).toBe('No changes. 2 specialists are as declared.\n');
    expect(planText([planOf([])], options)).toBe('No changes. Nothing is declared, and nothing runs.\n');
    expect(differs(planOf([keep]))).toBe(false);
  });

  it('warns of a mass prune', () => {
    const plan = planOf([{type: 'prune', observed: observed('a')}], true);
    expect(planText([plan], options)).toContain('More than half of fleet dev would be pruned: that needs --yes.\n');
  });

  it('shows no key and no endless text', () => {
    const from = `sk-ant-${'0123456789abcdef'.repeat(4)}`;
    const change = {path: 'env.TOKEN', from, to: 'x'.repeat(500), origin: undefined};
    const plan = planOf([
      {type: 'reconfigure', desired: sampleDesired({name: 'a'}), observed: observed('a'), changes: [change]},
    ]);
    const text = planText([plan], options);
    expect(text).not.toContain('0123456789');
    expect(Math.max(...text.split('\n').map(line => line.length))).toBeLessThan(200);
  });
});

it('prints an action that creates from the spec', () => {
  const desired = sampleDesired({name: 'athena', spec: {...sampleSpec, provider: 'auto', model: 'any'}});
  expect(planText([planOf([{type: 'create', desired, reason: 'it is new'}])], options)).toBe(
    '  + create athena (athena, auto:any): it is new\n\nPlan: 1 to create.\n',
  );
});
