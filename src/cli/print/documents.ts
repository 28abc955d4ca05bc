/** Specialists as documents: what `-o json` and `-o yaml` print. Secrets are in them as references only. */
import {apiVersion, type SpecialistSpec, type SpecialistStatus} from '../../api/types.js';
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
