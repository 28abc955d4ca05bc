/** What a worker runs with, in the open: what it was told last, and what it says of itself, compared by its owner. */
import type {Json} from '../api/types.js';
import type {Hello, Interference, WorkerConfig} from './control.js';

/** A configuration without its secrets, and without who it is for; in the words of a specialist's spec. */
export type Running = Readonly<Record<string, Json>>;

/** What an owner had a worker run with last. What the worker says otherwise is somebody else's doing. */
export interface Told {
  readonly generation: number;
  readonly specHash: string;
  readonly declared: Readonly<Record<string, Json>>;
  /** Absent where an older version told it, and left no word of it. */
  readonly running?: Running;
}

export function toldOf(config: WorkerConfig): Told {
  const {generation, specHash, declared} = config;
  return {generation, specHash, declared, running: runningOf(config)};
}

/** Holds no secret, so that it may be said and written down. */
export function runningOf(config: WorkerConfig): Running {
  const {provider, model, parameters, expertise, concurrency, sessions, fallback, overflow, budget, graceMs} = config;
  const said = {
    provider: withoutSecrets(provider),
    ...{model, parameters, expertise, concurrency, sessions},
    ...(fallback && {fallback: fallback.map(one => ({...one, provider: withoutSecrets(one.provider)}))}),
    ...(overflow !== undefined && {overflow}),
    ...(budget && {budget}),
    terminationGracePeriodSeconds: graceMs / 1000,
  };
  return said as unknown as Running; // plain data; an interface has no index signature
}

function withoutSecrets({apiKey: _key, apiKeyFrom: _from, missingSecret: _missing, ...open}: WorkerConfig['provider']) {
  return open;
}

/**
 * Of two words of one worker the later one, by how many configurations it had taken over; equally late, `next`. Draining,
 * ending and retiring are for good.
 */
export function later(known: Hello, next: Hello): Hello {
  const base = (next.revision ?? 0) >= (known.revision ?? 0) ? next : known;
  const ending = known.ending ?? next.ending;
  return {
    ...base,
    draining: known.draining || next.draining,
    ...(ending && {ending}),
    ...((known.retired ?? next.retired) !== undefined && {retired: known.retired === true || next.retired === true}),
  };
}

/** What somebody else did between two words of one worker, where nobody could tell of it at the time. */
export function whatWasDone(before: Hello, now: Hello): Interference | undefined {
  if (now.ending && !before.ending) return 'shutdown';
  if (now.draining && !before.draining) return 'drain';
  // One that gave no answer before has not said yet what it runs.
  return before.revision === now.revision ? undefined : 'configure';
}
