/** Specialists as documents: what `-o json` and `-o yaml` print. Secrets are in them as references only. */
import {
  apiVersion,
  type FleetCounts,
  type FleetRecord,
  type FleetStatus,
  type SpecialistSpec,
  type SpecialistStatus,
} from '../../api/types.js';
import {countsOf} from '../../reconciler/rollup.js';
import type {SpecialistView} from '../view.js';

export interface SpecialistDocument {
  readonly apiVersion: typeof apiVersion;
  readonly kind: 'Specialist';
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly generation: number;
    /** Facts that are neither declared nor observed: the registry key and the owning fleet. */
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly spec: SpecialistSpec | {readonly component: string};
  readonly status: SpecialistStatus;
}

export interface ListDocument {
  readonly apiVersion: typeof apiVersion;
  readonly kind: 'List';
  readonly items: readonly SpecialistDocument[];
}

export function specialistDocument(view: SpecialistView): SpecialistDocument {
  const {name, namespace, labels, generation, aiId, fleet, spec, component, status} = view;
  return {
    apiVersion,
    kind: 'Specialist',
    metadata: {
      name,
      namespace,
      labels,
      generation,
      annotations: {'tekton.ai/ai-id': aiId, ...(fleet !== undefined && {'tekton.ai/fleet': fleet})},
    },
    spec: spec ?? {component},
    status,
  };
}

export function listDocument(views: readonly SpecialistView[]): ListDocument {
  return {apiVersion, kind: 'List', items: views.map(specialistDocument)};
}

/** A fleet as a whole: what `status -o json` lists. */
export interface FleetDocument {
  readonly apiVersion: typeof apiVersion;
  readonly kind: 'Fleet';
  readonly metadata: {readonly name: string; readonly namespace: string};
  readonly status: {
    readonly appliedAt: string;
    readonly revision?: string;
    readonly stopped: boolean;
    readonly counts: FleetCounts;
  } & Partial<Pick<FleetStatus, 'syncedAt' | 'lastError' | 'sourceError'>>;
}

/**
 * @param views of its specialists, as they were looked at now
 * @param told by the controller that runs; undefined while none does
 */
export function fleetDocument(
  {name, namespace, appliedAt, revision, stopped}: FleetRecord,
  views: readonly SpecialistView[],
  told: FleetStatus | undefined,
): FleetDocument {
  const own = views.filter(view => view.fleet === name && view.namespace === namespace);
  return {
    apiVersion,
    kind: 'Fleet',
    metadata: {name, namespace},
    status: {
      appliedAt,
      ...(revision !== undefined && {revision}),
      stopped,
      counts: countsOf(own.map(({status}) => status)),
      ...(told && {syncedAt: told.syncedAt}),
      ...(told?.lastError && {lastError: told.lastError}),
      ...(told?.sourceError && {sourceError: told.sourceError}),
    },
  };
}
