/** What a client is told of a chat that failed, whatever protocol it speaks. */
import {ChatStopped} from './specialist.js';
import type {Specialist} from './specialist.js';

export interface Failure {
  readonly message: string;
  /** Of the error table in docs/reference/protocol.md. */
  readonly code: string;
  /** Whether the same request may succeed later without anybody changing anything. */
  readonly retryable: boolean;
  /** When that may be, ms from now, where somebody said so. */
  readonly retryAfterMs?: number;
}

/** The code alone. */
export function failureCode(error: unknown): string {
  if (error instanceof ChatStopped) return 'draining';
  return isCoded(error) ? error.code : 'internal';
}

/** Also tells the specialist what its provider's failures mean for its readiness. */
export function describeFailure(specialist: Specialist, error: unknown): Failure {
  const {aiId} = specialist.config;
  if (error instanceof ChatStopped) return {message: `${aiId} is draining`, code: 'draining', retryable: true};
  if (isCoded(error)) {
    // Where nobody was asked, what was failed with before is no news.
    if (!('passedOver' in error)) specialist.model.chatFailed(error.code, error.message);
    const {message, code, retryable, retryAfterMs} = error;
    return {message, code, retryable, ...(retryAfterMs !== undefined && {retryAfterMs})};
  }
  const message = `internal error: ${error instanceof Error ? error.message : String(error)}`;
  specialist.log('error', message, {stack: error instanceof Error ? error.stack : undefined});
  return {message, code: 'internal', retryable: false};
}

interface Coded extends Error {
  readonly code: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
}

/**
 * One of our errors that carry a code of the protocol's table: nobody else's say whether to try again. Known by their
 * shape, since a provider may live in another chunk of the build, where its class is another one.
 */
function isCoded(error: unknown): error is Coded {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    'retryable' in error &&
    typeof error.retryable === 'boolean'
  );
}
