/** A status made of what was found just now, in the words that the controller uses. */
import {reasons, type Reason} from '../api/conditions.js';
import type {Desired, FleetRecord, ModelCheck, ModelChoice, ModelReason, SpecialistStatus} from '../api/types.js';
import type {HealthReply} from '../protocol/messages.js';
import {defaultAction, drainedText, driftOf, driftText, isTold, leftSo, leftText} from '../reconciler/drift.js';
import {computeStatus, offReason, type Facts, type Why} from '../reconciler/status.js';
import {toldBy} from '../registry/launch-records.js';
import type {LaunchRecord} from '../registry/launch-records.js';
import type {Verification} from './verify.js';

export interface Found {
  readonly fleet: FleetRecord;
  readonly desired: Desired;
  /** What was last written, however long ago: only its counters and times are taken over. */
  readonly before: SpecialistStatus | undefined;
  readonly launch: LaunchRecord | undefined;
  readonly found: Verification;
  /** ISO 8601. */
  readonly now: string;
}

/** Status of a declared specialist that no controller vouches for. */
export function verifiedStatus({fleet, desired, before, launch, found, now}: Found): SpecialistStatus {
  const worker = workerFacts(desired, before, launch, found);
  const off = offReason(desired, fleet) ?? (worker === undefined ? notRunning : undefined);
  const drift = worker && launch && driftFacts(fleet, desired, launch, found);
  const facts: Facts = {
    generation: desired.generation,
    ...(off && {off}),
    ...(worker && {worker}),
    ...(drift && {drift}),
    model: found.type === 'answers' ? modelCheck(found.health) : undefined,
    crashLoop: false,
    restarts: before?.restarts ?? 0,
    lastExit: before?.lastExit,
    usage: ('hello' in found && found.hello?.usage) || (before?.usage ?? noUsage),
    budgeted: desired.spec.budget !== undefined,
    ...('hello' in found && found.hello?.budget && {budget: found.hello.budget}),
  };
  const status = computeStatus(facts, before, now);
  const healthUnknown = found.type === 'answers' && found.health === undefined && !facts.worker?.draining && !off;
  return healthUnknown ? withoutVerdict(status) : status;
}

/** It lives, and whether a chat would be answered could not be asked: neither True nor False. */
function withoutVerdict(status: SpecialistStatus): SpecialistStatus {
  const message = 'it answers pings, but its health could not be asked for';
  const conditions = status.conditions.map(c =>
    c.type === 'Ready' ? {...c, status: 'Unknown' as const, reason: 'NotChecked' as const, message} : c,
  );
  return {...status, phase: 'Unknown', conditions};
}

/** Nobody could look: the look was cut short. */
export function unknownStatus(desired: Desired, before: SpecialistStatus | undefined, now: string): SpecialistStatus {
  const {generation} = desired;
  return {
    phase: 'Unknown',
    observedGeneration: before?.observedGeneration ?? 0,
    specHash: before?.specHash ?? '',
    restarts: before?.restarts ?? 0,
    usage: before?.usage ?? noUsage,
    conditions: [
      {
        type: 'Ready',
        status: 'Unknown',
        reason: 'NotChecked',
        message: 'interrupted before it was looked at',
        lastTransitionTime: now,
        observedGeneration: generation,
      },
    ],
  };
}

export const noUsage = {requests: 0, inputTokens: 0, outputTokens: 0};

const notRunning: Why = {reason: 'Stopped', message: 'it is not running, and no controller runs that would start it'};

function workerFacts(
  desired: Desired,
  before: SpecialistStatus | undefined,
  launch: LaunchRecord | undefined,
  found: Verification,
): Facts['worker'] {
  if (launch?.identity === undefined || found.type === 'gone') return undefined;
  const {uid, identity, startedAt, host, port, generation, specHash} = launch;
  const {hello} = found;
  const health = found.type === 'answers' ? found.health : undefined;
  return {
    instance: {uid, identity, startedAt},
    host,
    port,
    choice: hello?.choice ?? choiceOf(desired, health) ?? before?.model ?? declaredChoice(desired),
    // Its own word, unless a hand made it claim one that there is not, or was long ago.
    generation: Math.min(Math.max(hello?.generation ?? 0, generation), desired.generation),
    specHash: hello?.specHash ?? specHash,
    draining: hello?.draining ?? health?.status === 'draining',
    missed: found.type === 'answers' ? 0 : 1,
  };
}

/** As the controller would find it, and what of it that would leave so. */
function driftFacts(
  {driftPolicy = 'heal', revision}: FleetRecord,
  desired: Desired,
  launch: LaunchRecord,
  found: Verification,
): Why | undefined {
  const hello = 'hello' in found ? found.hello : undefined;
  if (!hello) return undefined;
  const {name, namespace, fleet, component, generation, specHash, declared, running} = hello;
  const who = {
    aiId: desired.aiId,
    name,
    namespace,
    fleet,
    component,
    state: 'running' as const,
    told: toldBy(launch, hello),
  };
  const observed = {...who, generation, specHash, declared, ...(running && {running})};
  if (hello.draining && !hello.ending && isTold(desired, observed)) {
    const action = defaultAction(driftPolicy);
    return {reason: 'Drifted', message: action === 'heal' ? drainedText : `${drainedText} ${leftSo(action)}`};
  }
  const drift = driftOf(desired, observed, driftPolicy);
  const left = drift.filter(change => change.left);
  const healed = drift.filter(change => !change.left);
  const messages = [
    ...(healed.length > 0 ? [driftText(healed, revision)] : []),
    ...(left.length > 0 ? [leftText(left, driftPolicy, revision)] : []),
  ];
  return drift.length === 0 ? undefined : {reason: 'Drifted', message: messages.join('; ')};
}

/** What the specialist itself says of its model. */
export function modelCheck(health: HealthReply | undefined): ModelCheck | undefined {
  if (health === undefined || health.status === 'draining') return undefined;
  const message = health.message ?? health.reason ?? 'its model cannot answer';
  if (health.status === 'healthy' || health.reason === 'BudgetExceeded') {
    const {fallback} = health;
    return {available: true, ...(fallback && {fallback: {by: fallback.by, reason: known(fallback.reason), message}})};
  }
  return {available: false, reason: known(health.reason), message};
}

/** "ollama:llama3.3:70b" → provider and model. */
export function splitModel(text: string): {readonly provider: string; readonly model: string} {
  const colon = text.indexOf(':');
  return colon === -1 ? {provider: text, model: ''} : {provider: text.slice(0, colon), model: text.slice(colon + 1)};
}

function choiceOf({provider}: Desired, health: HealthReply | undefined): ModelChoice | undefined {
  return health && {...splitModel(health.model), type: provider.type};
}

function declaredChoice({provider, spec}: Desired): ModelChoice {
  return {provider: provider.name, type: provider.type, model: spec.model};
}

const modelReasons: ReadonlySet<Reason> = new Set<ModelReason>([
  'ProviderUnreachable',
  'ProviderError',
  'ModelNotFound',
  'Unauthorized',
  'SecretMissing',
  'QuotaExceeded',
]);

function known(reason: string | undefined): ModelReason {
  return isModelReason(reason) ? reason : 'ProviderError';
}

function isModelReason(text: string | undefined): text is ModelReason {
  const reason = reasons.find(known => known === text);
  return reason !== undefined && modelReasons.has(reason);
}
