/** What `/metrics` tells of a specialist: the numbers, from where they are counted. Loaded with the first scrape. */
import {histogramBounds} from '../../api/usage.js';
import type {Histogram, TargetUsage, UsageCounts} from '../../api/usage.js';
import type {Specialist} from '../specialist.js';
import {expose} from './exposition.js';
import type {Exposition} from './exposition.js';

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly value: number;
  readonly labels?: Labels;
}

/** One metric with all its samples, as Prometheus has them. */
export type Family = {readonly name: string; readonly help: string} & (
  | {readonly type: 'gauge' | 'counter'; readonly samples: readonly Sample[]}
  | {readonly type: 'histogram'; readonly histograms: readonly (DistributionSample & {readonly labels: Labels})[]}
);

export interface DistributionSample {
  /** Upper bounds, and how many values lie at or below each: cumulative, `+Inf` last. */
  readonly buckets: readonly {readonly le: number | '+Inf'; readonly count: number}[];
  readonly sum: number;
}

/** Every sample gets `labels`. */
export interface Snapshot {
  readonly labels: Labels;
  readonly families: readonly Family[];
}

const nothing: UsageCounts = {targets: [], errors: {}, cancelled: 0};

/** Asks nobody: a scrape costs neither a provider's call nor a file. Counters begin at 0 with the process. */
export function metricsOf(specialist: Specialist): Promise<Exposition> {
  return expose(snapshot(specialist));
}

function snapshot(specialist: Specialist): Snapshot {
  const {config, limiter, clients, ledger, draining, model} = specialist;
  const {aiId, name, component, fleet, namespace, choice, budget} = config;
  const {targets, errors, cancelled} = ledger?.counts ?? nothing;
  const {known} = model;
  const info = {name, component, fleet, namespace, provider: choice.provider, model: choice.model};
  const {user, system} = process.cpuUsage();
  const families: Family[] = [
    gauge('tekton_ai_info', 'Who this specialist is; always 1.', [{value: 1, labels: info}]),
    gauge(
      'tekton_ai_ready',
      'Whether a chat would be answered now, as far as is known; absent until somebody has looked.',
      known === undefined ? [] : [{value: Number(known.available && !draining)}],
    ),
    gauge('tekton_ai_connections', 'Open client connections.', [{value: clients}]),
    gauge('tekton_ai_chats_active', 'Chats under way.', [{value: limiter.active}]),
    gauge('tekton_ai_chats_queued', 'Chats that wait for a place.', [{value: limiter.queued}]),
    perTarget('tekton_ai_chats_total', 'Answered chats.', targets, ({requests}) => requests),
    {
      type: 'counter',
      name: 'tekton_ai_chat_errors_total',
      help: 'Chats that ended in an error, by the code that the client was told.',
      samples: Object.entries(errors).map(([code, value]) => ({value, labels: {code}})),
    },
    {
      type: 'counter',
      name: 'tekton_ai_chats_cancelled_total',
      help: 'Chats that their client stopped or left.',
      samples: [{value: cancelled}],
    },
    {
      type: 'counter',
      name: 'tekton_ai_provider_errors_total',
      help: 'Calls of a provider that failed; a fallback may have answered all the same.',
      samples: targets.flatMap(target =>
        Object.entries(target.errors).map(([code, value]) => ({value, labels: {...labelsOf(target), code}})),
      ),
    },
    {
      type: 'counter',
      name: 'tekton_ai_tokens_total',
      help: 'Tokens by kind; cached_input is part of input.',
      samples: targets.flatMap(target => [
        {value: target.inputTokens, labels: {...labelsOf(target), kind: 'input'}},
        {value: target.outputTokens, labels: {...labelsOf(target), kind: 'output'}},
        {value: target.cachedInputTokens, labels: {...labelsOf(target), kind: 'cached_input'}},
      ]),
    },
    perTarget(
      'tekton_ai_cost_total',
      "In the currency of the provider's prices.",
      targets.filter(({cost}) => cost !== undefined),
      ({cost = 0}) => cost,
    ),
    distribution(
      'tekton_ai_chat_duration_seconds',
      'From the request to the end of its answer, the wait in the queue included.',
      targets,
      ({latency}) => latency,
    ),
    distribution(
      'tekton_ai_first_token_seconds',
      'From the request to the first piece of its answer.',
      targets,
      ({firstToken}) => firstToken,
    ),
    ...(budget === undefined
      ? []
      : [
          gauge('tekton_ai_budget_exceeded', "Whether the day's budget is spent.", [
            {value: Number(ledger?.budget?.exceeded ?? false)},
          ]),
        ]),
    gauge('process_start_time_seconds', 'Start time of the process since the Unix epoch.', [
      {value: Date.now() / 1000 - process.uptime()},
    ]),
    gauge('process_resident_memory_bytes', 'Resident memory size.', [{value: process.memoryUsage.rss()}]),
    {
      type: 'counter',
      name: 'process_cpu_seconds_total',
      help: 'User and system time spent.',
      samples: [{value: (user + system) / 1e6}],
    },
  ];
  return {labels: {ai_id: aiId}, families};
}

function gauge(name: string, help: string, samples: readonly Sample[]): Family {
  return {type: 'gauge', name, help, samples};
}

function perTarget(
  name: string,
  help: string,
  targets: readonly TargetUsage[],
  value: (target: TargetUsage) => number,
): Family {
  const samples = targets.map(target => ({value: value(target), labels: labelsOf(target)}));
  return {type: 'counter', name, help, samples};
}

function distribution(
  name: string,
  help: string,
  targets: readonly TargetUsage[],
  histogram: (target: TargetUsage) => Histogram,
): Family {
  const histograms = targets.map(target => ({labels: labelsOf(target), ...cumulative(histogram(target))}));
  return {type: 'histogram', name, help, histograms};
}

function cumulative({counts, sum}: Histogram): DistributionSample {
  let count = 0;
  const buckets = counts.map((more, index) => ({
    le: histogramBounds[index] ?? ('+Inf' as const),
    count: (count += more),
  }));
  return {buckets, sum};
}

function labelsOf({provider, model}: TargetUsage): Labels {
  return {provider, model};
}
