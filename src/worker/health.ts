/** What a specialist says of itself: ping, health, info, and whether it is ready. */
import {description, systemPrompt} from '../expertise/prompt.js';
import {wireUsage} from '../protocol/messages.js';
import type {HealthReply, InfoReply, PongReply, RecentReply} from '../protocol/messages.js';
import type {Specialist} from './specialist.js';
import type {RecentUsage} from './usage-recent.js';

/** How much of the system prompt `info` shows; from the seed's protocol. */
const promptShown = 200;

export function pong(specialist: Specialist): PongReply {
  return {type: 'pong', ai_id: specialist.config.aiId, timestamp: Date.now() / 1000, uid: specialist.uid};
}

/** Resolves within about two seconds. */
export async function health(specialist: Specialist): Promise<HealthReply> {
  const {aiId, component} = specialist.config;
  const state = await readiness(specialist);
  return {
    type: 'health_response',
    ai_id: aiId,
    component,
    model: modelOf(specialist),
    clients: specialist.clients,
    ...state,
    active: specialist.limiter.active,
    queued: specialist.limiter.queued,
    waiting: specialist.slots.waiting,
    uptime: Math.round(specialist.now() - specialist.startedAt) / 1000,
    usage: wireUsage(specialist.usage),
    ...(specialist.ledger && {recent: recentReply(specialist.ledger.recent)}),
    cpu: cpuSeconds(),
  };
}

type Readiness = Pick<HealthReply, 'status' | 'reason' | 'message' | 'fallback'>;

/** Whether a chat would be answered now, and if not, why not; and whether by a fallback, and why by that. */
export async function readiness(specialist: Specialist): Promise<Readiness> {
  if (specialist.draining) return {status: 'draining', reason: 'Draining', message: 'takes no new chats'};
  const [check, budget] = await Promise.all([specialist.model.current(), specialist.budget()]);
  if (specialist.draining) return {status: 'draining', reason: 'Draining', message: 'takes no new chats'};
  if (!check.available) return {status: 'degraded', reason: check.reason, message: check.message};
  if (budget?.exceeded === true && budget.mode === 'hard') {
    return {status: 'degraded', reason: 'BudgetExceeded', message: budget.message ?? 'the budget is spent'};
  }
  const {fallback} = check;
  if (fallback === undefined) return {status: 'healthy'};
  const {by, reason} = fallback;
  return {status: 'healthy', reason: 'Fallback', message: fallback.message, fallback: {by, reason}};
}

export function info(specialist: Specialist): InfoReply {
  const {aiId, component, choice, expertise, parameters, name, namespace, fleet} = specialist.config;
  const {known} = specialist.model;
  const contextTokens = known?.available === true ? known.contextTokens : undefined;
  return {
    type: 'info_response',
    ai_id: aiId,
    component,
    description: description(specialist.config),
    model_provider: choice.provider,
    model_name: choice.model,
    model: modelOf(specialist),
    ...(choice.why === undefined ? {} : {model_reason: choice.why}),
    system_prompt: `${[...systemPrompt(specialist.config)].slice(0, promptShown).join('')}...`,
    port: specialist.port,
    title: expertise.title,
    roles: expertise.roles,
    capabilities: expertise.capabilities,
    context_window: parameters.contextTokens ?? contextTokens ?? null,
    max_tokens: parameters.maxTokens ?? null,
    name,
    namespace,
    fleet,
  };
}

function modelOf(specialist: Specialist): string {
  const {choice} = specialist.config;
  return `${choice.provider}:${choice.model}`;
}

function cpuSeconds(): number {
  const {user, system} = process.cpuUsage();
  return (user + system) / 1_000_000;
}

function recentReply(recent: RecentUsage): RecentReply {
  const {rateSeconds, requests, outputTokens, latencyP50, latencyP95, firstTokenP50, firstTokenP95} = recent;
  return {
    seconds: rateSeconds,
    requests,
    output_tokens: outputTokens,
    ...(latencyP50 !== undefined && {latency_p50: latencyP50}),
    ...(latencyP95 !== undefined && {latency_p95: latencyP95}),
    ...(firstTokenP50 !== undefined && {first_token_p50: firstTokenP50}),
    ...(firstTokenP95 !== undefined && {first_token_p95: firstTokenP95}),
  };
}
