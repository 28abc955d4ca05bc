/** Specialists to print. */
import type {Condition, ConditionType, Reason} from '../../src/api/conditions.js';
import type {Desired, SpecialistSpec, SpecialistStatus} from '../../src/api/types.js';
import type {SpecialistView} from '../../src/cli/view.js';

export const sampleSpec: SpecialistSpec = {
  component: 'athena',
  enabled: true,
  provider: 'ollama',
  model: 'llama3.3:70b',
  parameters: {},
  expertise: {
    title: 'The Knowledge Weaver',
    expertise: 'knowledge graphs',
    focus: 'connections',
    roles: ['knowledge'],
    capabilities: [],
    personality: 'thoughtful',
    refersTo: {},
  },
  concurrency: {max: 4, queue: 64},
  sessions: {maxTurns: 50, idleMinutes: 60, persist: false},
  fallback: [],
  pull: 'Never',
  overflow: 'error',
  host: '127.0.0.1',
  env: {HF_TOKEN: {env: 'HF_TOKEN'}},
  dependsOn: [],
  restartPolicy: 'Always',
  probes: {periodSeconds: 10, timeoutSeconds: 2, failureThreshold: 3, startupSeconds: 30},
  terminationGracePeriodSeconds: 30,
};

export function sampleDesired(over: Partial<Desired> & {readonly name: string}): Desired {
  const spec = {...sampleSpec, component: over.name, ...over.spec};
  return {
    aiId: `${over.name}-ai`,
    namespace: 'default',
    fleet: 'dev',
    labels: {},
    provider: {name: spec.provider, type: 'ollama'},
    generation: 1,
    declared: {component: spec.component, model: spec.model},
    specHash: 'abc',
    origins: {},
    ...over,
    spec,
  };
}

export function sampleCondition(
  type: ConditionType,
  status: Condition['status'],
  reason: Reason,
  message: string,
): Condition {
  return {type, status, reason, message, lastTransitionTime: '2026-01-05T10:00:00Z', observedGeneration: 1};
}

export const readyStatus: SpecialistStatus = {
  phase: 'Ready',
  observedGeneration: 1,
  specHash: 'abc',
  instance: {
    uid: 'u1',
    identity: {pid: 4242, startTime: '1', bootId: 'b'},
    startedAt: '2026-01-05T10:00:00Z',
  },
  host: '127.0.0.1',
  port: 45_000,
  model: {provider: 'ollama', type: 'ollama', model: 'llama3.3:70b'},
  restarts: 0,
  usage: {requests: 3, inputTokens: 120, outputTokens: 340},
  conditions: [sampleCondition('Ready', 'True', 'Ready', 'a chat would be answered now')],
};

export const stoppedStatus: SpecialistStatus = {
  phase: 'Stalled',
  observedGeneration: 1,
  specHash: 'abc',
  restarts: 7,
  usage: {requests: 0, inputTokens: 0, outputTokens: 0},
  conditions: [
    sampleCondition('Ready', 'False', 'ModelNotFound', 'model qwen3 is not on http://127.0.0.1:11434'),
    sampleCondition('Stalled', 'True', 'ModelNotFound', 'model qwen3 is not pulled; run: ollama pull qwen3'),
  ],
};

export const athena: SpecialistView = {
  aiId: 'athena-ai',
  name: 'athena',
  namespace: 'default',
  fleet: 'dev',
  component: 'athena',
  roles: ['knowledge'],
  labels: {},
  generation: 1,
  spec: sampleSpec,
  status: readyStatus,
};

export const numa: SpecialistView = {
  aiId: 'lab.numa-ai',
  name: 'numa',
  namespace: 'lab',
  fleet: 'dev',
  component: 'numa',
  roles: [],
  labels: {tier: 'a'},
  generation: 2,
  spec: {...sampleSpec, component: 'numa', model: 'qwen3'},
  status: stoppedStatus,
};
