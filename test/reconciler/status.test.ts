import {describe, expect, it, test} from '@jest/globals';
import {condition} from '../../src/api/conditions.js';
import type {ConditionType, Reason} from '../../src/api/conditions.js';
import type {ModelCheck, NamedStatus, Phase, SpecialistStatus} from '../../src/api/types.js';
import {computeStatus, outlook} from '../../src/reconciler/status.js';
import type {Facts} from '../../src/reconciler/status.js';

const available: ModelCheck = {available: true};
const away: ModelCheck = {available: false, reason: 'ProviderUnreachable', message: 'nobody at 127.0.0.1:11434'};
const replaced: ModelCheck = {
  available: true,
  fallback: {by: 'hosted:big', reason: 'ModelNotFound', message: 'run: ollama pull m'},
};
const unknownModel: ModelCheck = {available: false, reason: 'ModelNotFound', message: 'run: ollama pull m'};

const worker: NonNullable<Facts['worker']> = {
  instance: {uid: 'u1', identity: {pid: 7, startTime: 't', bootId: 'b'}, startedAt: 'then'},
  host: '127.0.0.1',
  port: 45000,
  choice: {provider: 'ollama', type: 'ollama', model: 'm'},
  generation: 2,
  specHash: 'hash',
  draining: false,
  missed: 0,
};

const running: Facts = {
  generation: 2,
  worker,
  model: available,
  crashLoop: false,
  restarts: 0,
  lastExit: undefined,
  usage: {requests: 0, inputTokens: 0, outputTokens: 0},
};

const {worker: _, ...notRunning} = running;

function status(facts: Facts, previous?: SpecialistStatus, now = 't1'): SpecialistStatus {
  return computeStatus(facts, previous, now);
}

/** `Ready=True/Ready` for short. */
function said(result: SpecialistStatus, ...types: ConditionType[]): readonly string[] {
  return types.map(type => {
    const found = condition(result.conditions, type);
    return `${type}=${found?.status}/${found?.reason}`;
  });
}

describe('conditions', () => {
  const cases: [string, Facts, Phase, string[]][] = [
    [
      'a worker that answers, with a model that would',
      running,
      'Ready',
      [
        'Accepted=True/Accepted',
        'Live=True/Live',
        'ModelAvailable=True/ModelAvailable',
        'Ready=True/Ready',
        'Progressing=False/Converged',
        'Stalled=False/Converged',
      ],
    ],
    [
      'a worker whose provider is away',
      {...running, model: away},
      'NotReady',
      [
        'Live=True/Live',
        'ModelAvailable=False/ProviderUnreachable',
        'Ready=False/ProviderUnreachable',
        'Stalled=False/Converged',
      ],
    ],
    [
      'a worker whose model nobody has',
      {...running, model: unknownModel},
      'Stalled',
      ['Live=True/Live', 'Ready=False/ModelNotFound', 'Stalled=True/ModelNotFound'],
    ],
    [
      'a worker whose model was not looked at yet',
      {...running, model: undefined},
      'NotReady',
      ['ModelAvailable=Unknown/NotChecked', 'Ready=False/NotChecked', 'Stalled=False/Converged'],
    ],
    [
      'a worker that missed a ping',
      {...running, worker: {...worker, missed: 1}},
      'NotReady',
      ['Live=False/ProbeFailed', 'Ready=False/ProbeFailed', 'ModelAvailable=True/ModelAvailable'],
    ],
    [
      'a worker that drains',
      {...running, worker: {...worker, draining: true}},
      'Draining',
      ['Live=True/Live', 'Ready=False/Draining'],
    ],
    [
      'one that is being launched',
      {...notRunning, progress: {reason: 'Launching', message: 'starting it'}},
      'Starting',
      ['Live=False/Launching', 'Ready=False/Launching', 'Progressing=True/Launching', 'Stalled=False/Converged'],
    ],
    [
      'one that waits for its next start',
      {...notRunning, progress: {reason: 'BackingOff', message: 'it ended'}},
      'Pending',
      ['Live=False/BackingOff', 'Progressing=True/BackingOff', 'Stalled=False/Converged'],
    ],
    [
      'one that goes down again and again',
      {...notRunning, crashLoop: true, progress: {reason: 'BackingOff', message: 'it ended: out of memory'}},
      'CrashLoop',
      ['Ready=False/BackingOff', 'Stalled=True/CrashLoop'],
    ],
    [
      'one that waits for another',
      {...notRunning, blocked: {reason: 'DependencyNotReady', message: 'waits for hermes'}},
      'Pending',
      [
        'Accepted=True/Accepted',
        'Ready=False/DependencyNotReady',
        'Progressing=False/DependencyNotReady',
        'Stalled=False/Converged',
      ],
    ],
    [
      'one whose port is taken',
      {...notRunning, blocked: {reason: 'PortTaken', message: 'port 45000 is taken'}},
      'Stalled',
      ['Live=False/PortTaken', 'Ready=False/PortTaken', 'Stalled=True/PortTaken'],
    ],
    [
      'one that another fleet has',
      {...notRunning, blocked: {reason: 'Conflict', message: 'athena-ai belongs to fleet x'}},
      'Stalled',
      ['Accepted=False/Conflict', 'Ready=False/Conflict', 'Stalled=True/Conflict'],
    ],
    [
      'one that is declared off',
      {...notRunning, off: {reason: 'Disabled', message: 'enabled: false'}, model: unknownModel},
      'Disabled',
      [
        'Live=False/Disabled',
        'ModelAvailable=Unknown/NotChecked',
        'Ready=False/Disabled',
        'Progressing=False/Disabled',
        'Stalled=False/Converged',
      ],
    ],
    [
      'one of a fleet that was stopped',
      {...notRunning, off: {reason: 'Stopped', message: 'by down'}},
      'Stopped',
      ['Live=False/Stopped', 'Ready=False/Stopped'],
    ],
    [
      'one whose fallback answers, and that nobody needs to wait for',
      {...running, model: replaced},
      'Ready',
      ['ModelAvailable=False/ModelNotFound', 'Ready=True/Fallback', 'Stalled=False/Converged'],
    ],
    [
      'one that drains, whatever its fallback would answer',
      {...running, model: replaced, worker: {...worker, draining: true}},
      'Draining',
      ['ModelAvailable=False/ModelNotFound', 'Ready=False/Draining'],
    ],
    [
      'one that is off, and has a fallback',
      {...notRunning, model: replaced, off: {reason: 'Disabled', message: 'declared so'}},
      'Disabled',
      ['ModelAvailable=Unknown/NotChecked', 'Ready=False/Disabled', 'Stalled=False/Converged'],
    ],
    ['one of which nothing is known yet', notRunning, 'Pending', ['Live=False/Starting', 'Ready=False/Starting']],
  ];

  test.each(cases)('of %s', (_name, facts, phase, conditions) => {
    const result = status(facts);
    expect(result.phase).toBe(phase);
    expect(said(result, ...conditions.map(c => c.split('=')[0] as ConditionType))).toEqual(conditions);
  });

  it('are always the same six, each once', () => {
    for (const [, facts] of cases) {
      expect(status(facts).conditions.map(c => c.type)).toEqual([
        'Accepted',
        'Live',
        'ModelAvailable',
        'Ready',
        'Progressing',
        'Stalled',
      ]);
    }
  });

  test.each<[Reason, boolean]>([
    ['ModelNotFound', true],
    ['Unauthorized', true],
    ['SecretMissing', true],
    ['QuotaExceeded', true],
    ['ProviderUnreachable', false],
    ['ProviderError', false],
  ])('a model that is not available for %s asks for a person: %s', (reason, needed) => {
    const check = {available: false, reason, message: 'm'} as ModelCheck;
    expect(said(status({...running, model: check}), 'Stalled')[0]).toBe(
      needed ? `Stalled=True/${reason}` : 'Stalled=False/Converged',
    );
  });

  it('repeat on Ready what the provider said', () => {
    expect(condition(status({...running, model: away}).conditions, 'Ready')?.message).toBe('nobody at 127.0.0.1:11434');
  });

  it('say in the crash loop what the last words were', () => {
    const facts: Facts = {...notRunning, crashLoop: true, progress: {reason: 'BackingOff', message: 'it ended: oom'}};
    expect(condition(status(facts).conditions, 'Stalled')?.message).toBe('it ended: oom');
  });

  it('say who answers in place of the model, and why', () => {
    const result = status({...running, model: replaced});
    expect(condition(result.conditions, 'Ready')?.message).toBe(
      'hosted:big answers as a fallback, because run: ollama pull m',
    );
    expect(condition(result.conditions, 'ModelAvailable')?.message).toBe('run: ollama pull m');
  });

  it('name the model that answers, and why `auto` took it', () => {
    const choice = {...worker.choice, why: 'Ollama has it'};
    const result = status({...running, worker: {...worker, choice}});
    expect(condition(result.conditions, 'ModelAvailable')?.message).toBe('ollama:m answers; Ollama has it');
    expect(result.model).toEqual(choice);
  });
});

describe('transition times', () => {
  const first = status(running, undefined, 't1');

  it('change for the conditions that turned and for no other', () => {
    const second = status({...running, model: away}, first, 't2');
    const times = Object.fromEntries(second.conditions.map(c => [c.type, c.lastTransitionTime]));
    expect(times).toEqual({
      Accepted: 't1',
      Live: 't1',
      ModelAvailable: 't2',
      Ready: 't2',
      Progressing: 't1',
      Stalled: 't1',
    });
  });

  it('stay where only the reason changes', () => {
    const second = status({...running, model: away}, first, 't2');
    const third = status({...running, model: {...away, reason: 'ProviderError', message: 'status 500'}}, second, 't3');
    expect(condition(third.conditions, 'Ready')).toMatchObject({reason: 'ProviderError', lastTransitionTime: 't2'});
  });

  it('leave the text the same while nothing changes', () => {
    const busy = {...running, worker: {...worker, missed: 1}};
    const later = {...running, worker: {...worker, missed: 2}};
    expect(status(running, first, 't9')).toEqual(first);
    const missed = status(busy, first, 't2');
    expect(status(later, missed, 't3')).toEqual(missed);
  });
});

describe('the generation that a status speaks of', () => {
  test.each<[string, Facts, number]>([
    ['is the one that the worker runs with', {...running, generation: 5}, 2],
    ['is the declared one where nothing is to run', {...notRunning, generation: 5, off: why('Disabled')}, 5],
    ['is the declared one where nothing can be done', {...notRunning, generation: 5, blocked: why('PortTaken')}, 5],
    ['is none while the first launch is under way', {...notRunning, generation: 5, progress: why('Launching')}, 0],
  ])('%s', (_name, facts, generation) => {
    const result = status(facts);
    expect(result.observedGeneration).toBe(generation);
    for (const one of result.conditions) expect(one.observedGeneration).toBe(facts.generation);
  });

  it('stays where a worker ended and its successor is not up', () => {
    const before = status(running);
    expect(status({...notRunning, progress: why('BackingOff')}, before).observedGeneration).toBe(2);
  });
});

describe('what stands in a status beside the conditions', () => {
  it('is the instance, where there is one', () => {
    expect(status(running)).toMatchObject({instance: {uid: 'u1'}, host: '127.0.0.1', port: 45000, specHash: 'hash'});
    expect(status(notRunning)).not.toHaveProperty('instance');
    expect(status(notRunning)).not.toHaveProperty('port');
  });

  it('is how often it was restarted, why last, and what it did', () => {
    const lastExit = {at: 'then', signal: 'SIGKILL', stderrTail: ['oops']};
    const usage = {requests: 3, inputTokens: 4, outputTokens: 5};
    expect(status({...running, restarts: 2, lastExit, usage})).toMatchObject({restarts: 2, lastExit, usage});
  });
});

describe('the outlook', () => {
  function looked(facts: Facts, generation = facts.generation, previous?: SpecialistStatus): NamedStatus {
    const who = {aiId: 'athena-ai', name: 'athena', component: 'athena', roles: [], labels: {}};
    return {...who, generation, status: status(facts, previous)};
  }
  const stopping: Facts = {...running, off: why('Stopped')};

  test.each<[string, NamedStatus, 'done' | 'waiting' | 'stuck']>([
    ['Ready', looked(running), 'done'],
    ['Ready with an older generation', looked({...running, generation: 3}), 'waiting'],
    ['Ready, judged by a declaration that the status has not seen', looked(running, 3), 'waiting'],
    ['being launched', looked({...notRunning, progress: why('Launching')}), 'waiting'],
    ['backing off', looked({...notRunning, progress: why('BackingOff')}), 'waiting'],
    ['waiting for another', looked({...notRunning, blocked: why('DependencyNotReady')}), 'waiting'],
    ['not looked at yet', looked({...running, model: undefined}), 'waiting'],
    ['in a crash loop', looked({...notRunning, crashLoop: true, progress: why('BackingOff')}), 'stuck'],
    ['blocked by its port', looked({...notRunning, blocked: why('PortTaken')}), 'stuck'],
    ['without its provider', looked({...running, model: away}), 'stuck'],
    ['without its provider, not yet reconfigured', looked({...running, generation: 3, model: away}), 'waiting'],
    ['without its model', looked({...running, model: unknownModel}), 'stuck'],
    ['without its model, but with a fallback', looked({...running, model: replaced}), 'done'],
    [
      'without its model, being launched',
      looked({...notRunning, model: unknownModel, progress: why('Launching')}),
      'waiting',
    ],
    ['hung', looked({...running, worker: {...worker, missed: 1}}), 'waiting'],
    ['off', looked({...notRunning, off: why('Disabled')}), 'done'],
    ['stopped', looked({...notRunning, off: why('Stopped')}), 'done'],
    ['stopped, judged by a newer declaration', looked({...notRunning, off: why('Stopped')}, 3), 'waiting'],
    ['to be stopped, and still running', looked(stopping), 'waiting'],
    ['draining', looked({...stopping, worker: {...worker, draining: true}}), 'waiting'],
  ])('of one that is %s', (_name, named, type) => {
    expect(outlook(named).type).toBe(type);
  });

  it('says what a person is needed for', () => {
    const stuck = outlook(looked({...running, model: unknownModel}));
    expect(stuck).toMatchObject({type: 'stuck', why: {reason: 'ModelNotFound', message: 'run: ollama pull m'}});
  });

  it('of a status without conditions is that it waits', () => {
    const named = {...looked(running), status: {...status(running), conditions: []}};
    expect(outlook(named)).toEqual({type: 'waiting', why: {reason: 'Starting', message: 'not launched yet'}});
  });
});

function why(reason: Reason): {reason: Reason; message: string} {
  return {reason, message: `because of ${reason}`};
}

describe('a budget', () => {
  const state = {day: '2026-11-22', exceeded: true, message: "the day's budget of 9 tokens is spent"} as const;

  it('that is hard and spent makes it not Ready, and nobody waits for that', () => {
    const spent = {...running, budgeted: true, budget: {...state, mode: 'hard' as const}};
    const result = status(spent);
    expect(said(result, 'Live', 'ModelAvailable', 'Ready', 'Stalled')).toEqual([
      'Live=True/Live',
      'ModelAvailable=True/ModelAvailable',
      'Ready=False/BudgetExceeded',
      'Stalled=False/Converged',
    ]);
    expect([result.phase, result.budget]).toEqual(['NotReady', spent.budget]);
    const who = {aiId: 'a-ai', name: 'a', component: 'a', roles: [], labels: {}, generation: 2};
    expect(outlook({...who, status: result}).type).toBe('stuck');
    expect(said(status({...spent, model: away}), 'Ready')).toEqual(['Ready=False/ProviderUnreachable']);
    expect(said(status({...spent, model: replaced}), 'Ready')).toEqual(['Ready=False/BudgetExceeded']);
  });

  it('that is soft leaves it Ready', () => {
    const spent = {...running, budgeted: true, budget: {...state, mode: 'soft' as const}};
    expect(said(status(spent), 'Ready')).toEqual(['Ready=True/Ready']);
  });

  it('is remembered while no worker tells, and forgotten when none is declared', () => {
    const before = status({...running, budgeted: true, budget: {...state, mode: 'hard'}});
    const down = {...notRunning, budgeted: true};
    expect(status(down, before).budget).toEqual(before.budget);
    expect(said(status({...running, budgeted: true}, before), 'Ready')).toEqual(['Ready=True/Ready']);
    expect(status({...running, budgeted: false}, before)).not.toHaveProperty('budget');
  });
});
