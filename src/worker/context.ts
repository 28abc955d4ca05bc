/** Whether a conversation fits into the model's context window, and what becomes of one that doesn't. */
import type {WorkerConfig} from '../protocol/control.js';
import type {ChatRequest} from '../providers/provider.js';
import type {EngineTarget} from './specialist.js';

export interface Fitted {
  readonly request: ChatRequest;
  /** Messages that were left out, oldest first. */
  readonly trimmed: number;
}

export async function fit(
  request: ChatRequest,
  _target: EngineTarget,
  _config: WorkerConfig,
  _signal: AbortSignal,
): Promise<Fitted> {
  return {request, trimmed: 0};
}
