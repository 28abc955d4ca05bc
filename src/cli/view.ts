/** One specialist as the reading verbs show it. */
import {condition} from '../api/conditions.js';
import type {SpecialistSpec, SpecialistStatus} from '../api/types.js';

export interface SpecialistView {
  readonly aiId: string;
  readonly name: string;
  readonly namespace: string;
  /** Absent: in no fleet (a worker by hand, or an entry that another program wrote). */
  readonly fleet?: string;
  /** Commit that its fleet is declared by, where it comes from a repository, and that repository's git source. */
  readonly revision?: {readonly commit: string; readonly source: string};
  readonly component: string;
  readonly roles: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly generation: number;
  /** Absent where nothing is declared. */
  readonly spec?: SpecialistSpec;
  readonly status: SpecialistStatus;
}

/** "ollama:llama3.3:70b": what answers now, or what is declared while nothing does. */
export function modelText({status, spec}: SpecialistView): string {
  if (status.model !== undefined) return `${status.model.provider}:${status.model.model}`;
  return spec === undefined ? '<unknown>' : `${spec.provider}:${spec.model}`;
}

/** "True", "False" or "Unknown". */
export function readyText({status}: SpecialistView): string {
  return condition(status.conditions, 'Ready')?.status ?? 'Unknown';
}

/** Why it is not Ready: the reason and message of the condition that says most; undefined when it is Ready. */
export function whyNotReady({
  status,
}: Pick<SpecialistView, 'status'>): {readonly reason: string; readonly message: string} | undefined {
  if (condition(status.conditions, 'Ready')?.status === 'True') return undefined;
  const telling =
    status.conditions.find(c => c.type === 'Stalled' && c.status === 'True') ??
    condition(status.conditions, 'Ready') ??
    status.conditions.find(c => c.status !== 'True');
  return telling ?? {reason: 'NotChecked', message: 'nothing is known about it'};
}

/**
 * Why one that is Ready serves something else than is declared: what is declared last could not be taken over. undefined:
 * it isn't Ready, or runs as declared, or is on its way there.
 */
export function whyNotAsDeclared({
  status,
  generation,
}: Pick<SpecialistView, 'status' | 'generation'>): {readonly reason: string; readonly message: string} | undefined {
  if (status.observedGeneration >= generation || condition(status.conditions, 'Ready')?.status !== 'True') {
    return undefined;
  }
  const progressing = condition(status.conditions, 'Progressing');
  return [condition(status.conditions, 'Stalled'), progressing].find(
    found =>
      found !== undefined && (found.status === 'True') === (found.type === 'Stalled') && found.reason !== 'Converged',
  );
}

/** Who answers for one that is Ready though its own model can't, and why that can't; undefined: it can. */
export function whyFallback({
  status,
}: Pick<SpecialistView, 'status'>): {readonly reason: string; readonly message: string} | undefined {
  const ready = condition(status.conditions, 'Ready');
  return ready?.status === 'True' && ready.reason === 'Fallback' ? ready : undefined;
}

/** What somebody else made of it, where that is left so; undefined: it runs as it was told. */
export function whyDrifted({
  status,
}: Pick<SpecialistView, 'status'>): {readonly reason: string; readonly message: string} | undefined {
  const progressing = condition(status.conditions, 'Progressing');
  return progressing?.reason === 'Drifted' ? progressing : undefined;
}

/** That its canary failed, of one that is Ready all the same; undefined: it has none, passed, or is yet to be asked. */
export function whyCanaryFailed({
  status,
}: Pick<SpecialistView, 'status'>): {readonly reason: string; readonly message: string} | undefined {
  const progressing = condition(status.conditions, 'Progressing');
  return progressing?.reason === 'CanaryFailed' ? progressing : undefined;
}

/** As people name it: without the namespace where that is `default`. */
export function qualifiedName({name, namespace}: {readonly name: string; readonly namespace: string}): string {
  return namespace === 'default' ? name : `${namespace}/${name}`;
}
