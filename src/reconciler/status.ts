/** Status from facts: conditions, phase, and whether waiting any longer makes sense. Pure. */
import {condition, isTrue} from '../api/conditions.js';
import type {Condition, ConditionType, Reason} from '../api/conditions.js';
import {fallbackText} from '../api/model-check.js';
import type {Fallback} from '../api/model-check.js';
import type {
  BudgetState,
  Desired,
  FleetRecord,
  Instance,
  LastExit,
  ModelCheck,
  ModelChoice,
  NamedStatus,
  Phase,
  PullStatus,
  SpecialistStatus,
  Usage,
} from '../api/types.js';
import type {CanaryView} from './canary-record.js';

export interface Why {
  readonly reason: Reason;
  readonly message: string;
}

/** What the reconciler knows of one specialist at one moment. */
export interface Facts {
  /** Of the declaration. */
  readonly generation: number;
  /** Absent: it is to run. */
  readonly off?: Why;
  readonly worker?: {
    readonly instance: Instance;
    readonly host: string;
    readonly port: number;
    readonly choice: ModelChoice;
    readonly generation: number;
    readonly specHash: string;
    readonly draining: boolean;
    /** Probes missed in a row. */
    readonly missed: number;
  };
  readonly model: ModelCheck | undefined;
  /** How far the download of its model is. */
  readonly pull?: PullStatus;
  /** Why what is declared does not run yet, though a worker serves: its successor didn't come up. */
  readonly rollout?: Why;
  /** That happened again and again. */
  readonly rolloutStuck?: boolean;
  /** Somebody else changed it, and it is left so. */
  readonly drift?: Why;
  /** Its canary is yet to be asked, or failed. */
  readonly canary?: CanaryView;
  /** Work that is under way or about to begin by itself. */
  readonly progress?: Why;
  /** Nothing more happens before a person, another specialist or a provider does something. */
  readonly blocked?: Why;
  readonly crashLoop: boolean;
  readonly restarts: number;
  readonly lastExit: LastExit | undefined;
  readonly usage: Usage;
  /** A budget is declared. */
  readonly budgeted?: boolean;
  /** How it stands, by the worker's word. */
  readonly budget?: BudgetState;
}

/** Why a declared specialist is not to run; undefined where it is. */
export function offReason(desired: Desired, record: FleetRecord): Why | undefined {
  if (record.stopped) return {reason: 'Stopped', message: 'the fleet was stopped by `tekton-ai down`'};
  if (!record.enabled) return {reason: 'Disabled', message: record.notices[0] ?? 'the fleet has enabled: false'};
  return desired.spec.enabled ? undefined : {reason: 'Disabled', message: 'declared with enabled: false'};
}

/** @param now ISO 8601, stamped on the conditions whose status changed against `previous` and on no other. */
export function computeStatus(facts: Facts, previous: SpecialistStatus | undefined, now: string): SpecialistStatus {
  const {generation} = facts;
  const before = previous?.observedGeneration ?? 0;
  // What is off may still be coming up, from when it was not.
  const isActedOn = facts.blocked !== undefined || (facts.off !== undefined && facts.progress === undefined);
  const observedGeneration = facts.worker?.generation ?? (isActedOn ? generation : before > generation ? 0 : before);
  const stamp = (type: ConditionType, status: Condition['status'], why: Why): Condition => {
    const before = previous && condition(previous.conditions, type);
    const lastTransitionTime = before?.status === status ? before.lastTransitionTime : now;
    return {type, status, ...why, lastTransitionTime, observedGeneration: generation};
  };
  const conditions = decide(facts).map(({type, status, reason, message}) => stamp(type, status, {reason, message}));
  const model = facts.worker?.choice;
  // Of one that is down, the last word stands: its successor reads the same counters.
  const budget = facts.budgeted === true ? (facts.budget ?? previous?.budget) : undefined;
  return {
    phase: phaseOf(facts, conditions),
    observedGeneration,
    specHash: facts.worker?.specHash ?? previous?.specHash ?? '',
    ...(facts.worker && {instance: facts.worker.instance, host: facts.worker.host, port: facts.worker.port}),
    ...(model && {model}),
    ...(facts.pull && {pull: facts.pull}),
    restarts: facts.restarts,
    ...(facts.lastExit && {lastExit: facts.lastExit}),
    usage: facts.usage,
    ...(budget && {budget}),
    conditions,
  };
}

type Verdict = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

function decide(facts: Facts): readonly Verdict[] {
  const accepted: Verdict =
    facts.blocked?.reason === 'Conflict'
      ? {type: 'Accepted', status: 'False', ...facts.blocked}
      : {type: 'Accepted', status: 'True', reason: 'Accepted', message: 'the declaration is valid'};
  const live = decideLive(facts);
  const model = decideModel(facts);
  return [
    accepted,
    live,
    model,
    decideReady(facts, live, model),
    decideProgressing(facts),
    decideStalled(facts, model),
  ];
}

function decideLive(facts: Facts): Verdict {
  const {worker} = facts;
  if (worker && worker.missed === 0) {
    return {type: 'Live', status: 'True', reason: 'Live', message: `answers on ${worker.host}:${worker.port}`};
  }
  if (worker) {
    const message = `does not answer pings on ${worker.host}:${worker.port}`;
    return {type: 'Live', status: 'False', reason: 'ProbeFailed', message};
  }
  const why = facts.off ?? facts.blocked ?? facts.progress ?? {reason: 'Starting', message: 'not launched yet'};
  return {type: 'Live', status: 'False', ...why};
}

function decideModel(facts: Facts): Verdict {
  const {model} = facts;
  if (facts.off) {
    return {type: 'ModelAvailable', status: 'Unknown', reason: 'NotChecked', message: 'not checked while it is off'};
  }
  if (!model) return {type: 'ModelAvailable', status: 'Unknown', reason: 'NotChecked', message: 'not checked yet'};
  const fault = faultOf(model);
  if (fault) return {type: 'ModelAvailable', status: 'False', reason: fault.reason, message: fault.message};
  const choice = facts.worker?.choice;
  const remarks = [choice?.why, model.available ? model.warning : undefined].filter(remark => remark !== undefined);
  const who = choice ? `${choice.provider}:${choice.model}` : 'the model';
  const message = [`${who} answers`, ...remarks].join('; ');
  return {type: 'ModelAvailable', status: 'True', reason: 'ModelAvailable', message};
}

function decideReady(facts: Facts, live: Verdict, model: Verdict): Verdict {
  if (facts.worker?.draining) {
    return {
      type: 'Ready',
      status: 'False',
      reason: 'Draining',
      message: 'finishes the chats under way, takes no new ones',
    };
  }
  if (live.status !== 'True') return {...live, type: 'Ready', status: 'False'};
  const fallback = fallbackOf(facts);
  if (!fallback && model.status !== 'True') return {...model, type: 'Ready', status: 'False'};
  if (refusesChats(facts.budget)) {
    const message = `${facts.budget?.message ?? 'the budget is spent'}; chats are refused until midnight UTC`;
    return {type: 'Ready', status: 'False', reason: 'BudgetExceeded', message};
  }
  if (fallback) {
    return {type: 'Ready', status: 'True', reason: 'Fallback', message: fallbackText(fallback)};
  }
  return {type: 'Ready', status: 'True', reason: 'Ready', message: 'a chat would be answered now'};
}

function refusesChats(budget: BudgetState | undefined): boolean {
  return budget?.exceeded === true && budget.mode === 'hard';
}

/** What is wrong with the specialist's own model: that a fallback answers doesn't mend it. */
function faultOf(model: ModelCheck): Pick<Fallback, 'reason' | 'message'> | undefined {
  return model.available ? model.fallback : model;
}

/** Who would answer a chat in place of the specialist's own model. */
function fallbackOf({off, model}: Facts): Fallback | undefined {
  return !off && model?.available === true ? model.fallback : undefined;
}

function decideProgressing(facts: Facts): Verdict {
  if (facts.progress) return {type: 'Progressing', status: 'True', ...facts.progress};
  if (facts.off) return {type: 'Progressing', status: 'False', ...facts.off};
  if (facts.blocked) return {type: 'Progressing', status: 'False', ...facts.blocked};
  if (facts.rollout) return {type: 'Progressing', status: 'False', ...facts.rollout};
  const fault = facts.model && faultOf(facts.model);
  if (fault?.reason === 'Pulling') {
    return {type: 'Progressing', status: 'True', reason: 'Pulling', message: fault.message};
  }
  if (facts.drift) return {type: 'Progressing', status: 'False', ...facts.drift};
  if (facts.canary?.state === 'due') {
    return {
      type: 'Progressing',
      status: 'True',
      reason: 'CanaryRunning',
      message: 'its canary prompts are to be passed',
    };
  }
  if (facts.canary) {
    return {type: 'Progressing', status: 'False', reason: 'CanaryFailed', message: facts.canary.message};
  }
  return {type: 'Progressing', status: 'False', reason: 'Converged', message: 'runs as declared'};
}

/** Reasons that no retry of ours mends. */
const needsPerson: ReadonlySet<Reason> = new Set<Reason>([
  'Conflict',
  'PortsExhausted',
  'PortTaken',
  'ModelNotFound',
  'Unauthorized',
  'SecretMissing',
  'QuotaExceeded',
  'Exited',
]);

function decideStalled(facts: Facts, model: Verdict): Verdict {
  if (facts.blocked && needsPerson.has(facts.blocked.reason)) {
    return {type: 'Stalled', status: 'True', ...facts.blocked};
  }
  if (facts.rollout && facts.rolloutStuck) return {type: 'Stalled', status: 'True', ...facts.rollout};
  if (!facts.off && facts.canary?.state === 'failed' && facts.canary.rollsBack) {
    return {type: 'Stalled', status: 'True', reason: 'CanaryFailed', message: facts.canary.message};
  }
  // Left drained it takes no chat until somebody does something about it.
  if (facts.drift && facts.worker?.draining) return {type: 'Stalled', status: 'True', ...facts.drift};
  if (facts.crashLoop) {
    const message = facts.progress?.message ?? 'it goes down again and again';
    return {type: 'Stalled', status: 'True', reason: 'CrashLoop', message};
  }
  if (!facts.off && !fallbackOf(facts) && model.status === 'False' && needsPerson.has(model.reason)) {
    return {...model, type: 'Stalled', status: 'True'};
  }
  return {type: 'Stalled', status: 'False', reason: 'Converged', message: 'nobody is needed'};
}

function phaseOf(facts: Facts, conditions: readonly Condition[]): Phase {
  if (facts.worker?.draining) return 'Draining';
  if (facts.off) return facts.off.reason === 'Stopped' ? 'Stopped' : 'Disabled';
  if (isTrue(conditions, 'Ready')) return 'Ready';
  if (facts.crashLoop) return 'CrashLoop';
  if (isTrue(conditions, 'Stalled')) return 'Stalled';
  if (facts.worker) return 'NotReady';
  return facts.progress?.reason === 'Launching' || facts.progress?.reason === 'Restarting' ? 'Starting' : 'Pending';
}

/** Where a specialist stands on its way to a generation. */
export type Outlook =
  /** Ready, or off as declared. */
  | {readonly type: 'done'}
  /** Something is still under way. */
  | {readonly type: 'waiting'; readonly why: Why}
  /** Waiting alone won't make it Ready: a person, or a provider's return, is needed. */
  | {readonly type: 'stuck'; readonly why: Why};

/** What `apply --wait` concludes from one status; a status older than the declaration is never a conclusion. */
export function outlook(named: NamedStatus): Outlook {
  const {status, generation} = named;
  const ready = condition(status.conditions, 'Ready');
  const why: Why = ready
    ? {reason: ready.reason, message: ready.message}
    : {reason: 'Starting', message: 'not launched yet'};
  const current =
    status.observedGeneration >= generation && ready !== undefined && ready.observedGeneration >= generation;
  if (status.phase === 'Disabled' || status.phase === 'Stopped') {
    // It may still be waiting for its turn to be stopped.
    return current && !status.instance ? {type: 'done'} : {type: 'waiting', why};
  }
  const stalled = condition(status.conditions, 'Stalled');
  if (ready && ready.observedGeneration >= generation && stalled?.status === 'True') {
    return isOnItsWay(status, stalled) ? {type: 'waiting', why: stalled} : {type: 'stuck', why: stalled};
  }
  if (!current) return {type: 'waiting', why};
  if (ready.status === 'True') {
    const progressing = condition(status.conditions, 'Progressing');
    return progressing?.reason === 'CanaryRunning' ? {type: 'waiting', why: progressing} : {type: 'done'};
  }
  const model = condition(status.conditions, 'ModelAvailable');
  if (model?.reason === 'Pulling') return {type: 'waiting', why};
  const waits = model?.status === 'False' || ready.reason === 'BudgetExceeded';
  if (isTrue(status.conditions, 'Live') && waits) return {type: 'stuck', why};
  return {type: 'waiting', why};
}

/** Its model is not to be had, which no waiting mends; but its process is about to be there, and that is a step, too. */
function isOnItsWay({conditions}: SpecialistStatus, stalled: Condition): boolean {
  const live = condition(conditions, 'Live');
  const coming: readonly (Reason | undefined)[] = ['Starting', 'Launching', 'Restarting'];
  return stalled.reason === condition(conditions, 'ModelAvailable')?.reason && coming.includes(live?.reason);
}
