/** What a specialist says of itself: ping, health, info, and whether it is ready. */
import {description, systemPrompt} from '../expertise/prompt.js';
import {wireUsage} from '../protocol/messages.js';
import type {HealthReply, InfoReply, PongReply} from '../protocol/messages.js';
import type {Specialist} from './specialist.js';

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
    uptime: Math.round(specialist.now() - specialist.startedAt) / 1000,
    usage: wireUsage(specialist.usage),
  };
}

/** Whether a chat would be answered now, and if not, why not. */
export async function readiness(specialist: Specialist): Promise<Pick<HealthReply, 'status' | 'reason' | 'message'>> {
  if (specialist.draining) return {status: 'draining', reason: 'Draining', message: 'takes no new chats'};
  const check = await specialist.model.current();
  if (specialist.draining) return {status: 'draining', reason: 'Draining', message: 'takes no new chats'};
  return check.available ? {status: 'healthy'} : {status: 'degraded', reason: check.reason, message: check.message};
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
