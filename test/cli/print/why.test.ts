import {describe, expect, it} from '@jest/globals';
import type {FleetEvent} from '../../../src/api/types.js';
import {styleFor} from '../../../src/cli/print/style.js';
import {causalChain, whyText} from '../../../src/cli/print/why.js';
import type {SpecialistView} from '../../../src/cli/view.js';
import {athena, sampleCondition, sampleSpec} from '../samples.js';

const now = Date.parse('2026-01-05T10:05:03Z');

function view(name: string, reason?: Parameters<typeof sampleCondition>[2], dependsOn: readonly string[] = []) {
  const status =
    reason === undefined
      ? athena.status
      : {
          ...athena.status,
          phase: 'NotReady' as const,
          conditions: [sampleCondition('Ready', 'False', reason, `the message of ${name}`)],
        };
  return {...athena, name, aiId: `${name}-ai`, spec: {...sampleSpec, dependsOn}, status} satisfies SpecialistView;
}

function event(minute: number, reason: string, aiId?: string, message = reason.toLowerCase()): FleetEvent {
  const at = `2026-01-05T10:0${minute}:00.000Z`;
  const about = aiId === undefined ? {} : {aiId};
  return {at, type: 'Normal', reason, message, namespace: 'default', fleet: 'dev', ...about};
}

function why(asked: SpecialistView, events: readonly FleetEvent[], all: readonly SpecialistView[] = [asked]): string {
  return whyText({chain: causalChain(asked, all), events, style: styleFor(false), now});
}

it('goes from the last good time to the present trouble', () => {
  const events = [
    event(0, 'Launched', 'athena-ai'),
    event(1, 'BecameReady', 'athena-ai', 'a chat would be answered now'),
    event(3, 'BecameNotReady', 'athena-ai', 'cannot reach http://127.0.0.1:11434'),
  ];
  expect(why(view('athena', 'ProviderUnreachable'), events)).toBe(
    [
      'athena is NotReady for 5m3s: ProviderUnreachable: the message of athena',
      '  2026-01-05 10:01:00  BecameReady: a chat would be answered now',
      '  2026-01-05 10:03:00  BecameNotReady: cannot reach http://127.0.0.1:11434',
      'next: start the model server, or mend its address; Ready by itself when it answers',
      '',
    ].join('\n'),
  );
});

it('tells of one that is Ready what was done to it last, and the edit that called for it', () => {
  const events = [
    event(0, 'Launched', 'athena-ai'),
    event(1, 'BecameReady', 'athena-ai'),
    event(2, 'SourceApplied', undefined, 'took over a changed source'),
    event(2, 'Reconfigured', 'athena-ai', 'changed model, without a restart'),
  ];
  expect(why(view('athena'), events)).toBe(
    [
      'athena is Ready for 5m3s: it runs as declared (generation 1)',
      '  2026-01-05 10:02:00  dev SourceApplied: took over a changed source',
      '  2026-01-05 10:02:00  Reconfigured: changed model, without a restart',
      '',
    ].join('\n'),
  );
});

it('leaves an old edit out that others were changed by', () => {
  const events = [
    event(0, 'SourceApplied'),
    event(1, 'Launched', 'athena-ai'),
    event(2, 'BecameReady', 'athena-ai'),
    event(3, 'Adopted', 'athena-ai'),
  ];
  expect(why(view('athena'), events)).not.toContain('SourceApplied');
});

describe('with dependencies', () => {
  const rhetor = view('rhetor', 'DependencyNotReady', ['athena', 'hermes']);

  it('follows them to where the cause lies', () => {
    const all = [
      rhetor,
      view('athena'),
      view('hermes', 'DependencyNotReady', ['apollo']),
      view('apollo', 'SecretMissing'),
    ];
    const text = why(rhetor, [event(1, 'SecretMissing', 'apollo-ai', 'set OPENAI_API_KEY')], all);
    expect(text.split('\n')).toEqual([
      'rhetor is NotReady for 5m3s: DependencyNotReady: the message of rhetor',
      '  because hermes is NotReady for 5m3s: DependencyNotReady: the message of hermes',
      '    because apollo is NotReady for 5m3s: SecretMissing: the message of apollo',
      '  2026-01-05 10:01:00  apollo-ai SecretMissing: set OPENAI_API_KEY',
      'next: set what the message names',
      '',
    ]);
  });

  it('ends at a dependency that is not known, and in a circle', () => {
    expect(causalChain(rhetor, [rhetor])).toEqual([rhetor]);
    const back = view('athena', 'DependencyNotReady', ['rhetor']);
    expect(causalChain(rhetor, [rhetor, back])).toEqual([rhetor, back]);
  });
});

it('keeps to the last events of a long trouble', () => {
  const events = Array.from({length: 30}, (_, index) => event(index % 10, 'Exited', 'athena-ai', `exit ${index}`));
  const lines = why(view('athena', 'CrashLoop'), events).split('\n');
  expect(lines).toHaveLength(12);
  expect(lines[1]).toBe('  … 22 earlier');
  expect(lines.at(-3)).toContain('exit 29');
});
