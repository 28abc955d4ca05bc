/** How long a word about the model counts. */
import {describe, expect, it} from '@jest/globals';
import type {ModelCheck} from '../../src/api/types.js';
import {ModelState} from '../../src/worker/model-state.js';

describe('ModelState', () => {
  const available: ModelCheck = {available: true};
  const missing: ModelCheck = {available: false, reason: 'ModelNotFound', message: 'pull it'};

  function setUp(check: (signal: AbortSignal) => Promise<ModelCheck> = async () => available): {
    state: ModelState;
    clock: {ms: number};
    asked: () => number;
    suspects: string[];
  } {
    const clock = {ms: 1_000_000};
    const suspects: string[] = [];
    let asked = 0;
    const state = new ModelState({
      now: () => clock.ms,
      check: signal => {
        asked++;
        return check(signal);
      },
      onSuspect: code => suspects.push(code),
    });
    return {state, clock, asked: () => asked, suspects};
  }

  it('asks the provider when nobody has said anything, at most every ten seconds, many askers once', async () => {
    const {state, clock, asked} = setUp();
    await Promise.all([state.current(), state.current()]);
    await state.current();
    expect(asked()).toBe(1);
    clock.ms += 10_001;
    await state.current();
    expect(asked()).toBe(2);
  });

  it('believes its owner for thirty seconds after the owner left, then looks for itself', async () => {
    const {state, clock, asked} = setUp();
    const left = state.ownerConnected();
    state.ownerSays(missing);
    clock.ms += 3_600_000;
    expect(await state.current()).toBe(missing);
    left();
    clock.ms += 30_000;
    expect(await state.current()).toBe(missing);
    expect(asked()).toBe(0);
    clock.ms += 1;
    expect(await state.current()).toBe(available);
    expect(asked()).toBe(1);
  });

  it('looks again by itself for what it found out by itself, though an owner is there', async () => {
    const {state, clock, asked} = setUp();
    state.ownerConnected();
    await state.current();
    clock.ms += 10_001;
    await state.current();
    expect(asked()).toBe(2);
  });

  it('does not let a slow check undo what was said meanwhile, or speak for another model', async () => {
    let answer: (check: ModelCheck) => void = () => undefined;
    const {state} = setUp(() => new Promise(resolve => (answer = resolve)));
    const slow = state.current();
    state.ownerSays(missing);
    answer(available);
    await slow;
    expect(state.known).toBe(missing);
    state.forget();
    const stale = state.current();
    state.forget();
    answer(available);
    await stale;
    expect(state.known).toBeUndefined();
  });

  it('takes no answer within two seconds, or a throw, for unavailable', async () => {
    const hung = setUp(() => new Promise(() => undefined));
    expect(await hung.state.current()).toMatchObject({available: false, reason: 'ProviderUnreachable'});
    const thrown = setUp(() => Promise.reject(new Error('boom')));
    expect(await thrown.state.current()).toEqual({available: false, reason: 'ProviderError', message: 'boom'});
  });

  it('suspects the model after faults of the provider, not after those of a request', () => {
    const {state, suspects} = setUp();
    state.chatWorked();
    state.chatFailed('bad_request', 'too long');
    state.chatFailed('overloaded', 'busy');
    expect(state.known).toBeUndefined();
    state.chatFailed('quota_exceeded', 'no credit');
    expect(state.known).toEqual({available: false, reason: 'QuotaExceeded', message: 'no credit'});
    state.chatWorked();
    state.chatWorked();
    expect(state.known).toEqual({available: true});
    expect(suspects).toEqual(['quota_exceeded', 'recovered']);
  });
});
