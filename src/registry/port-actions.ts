/** Requests for ports as data, so that another process can serve them, and what came of each. */
import {TektonError} from '../api/errors.js';
import type {PortRange, ProcessIdentity} from '../api/types.js';
import type {Choice, PortRequest} from './choose-ports.js';

export type PortAction =
  | {
      readonly type: 'allocate';
      readonly requests: readonly PortRequest[];
      readonly range: PortRange;
      readonly holdMs: number;
      /** Who asks: the reservations end with it. */
      readonly owner: ProcessIdentity;
    }
  | {readonly type: 'release'; readonly uids: readonly string[]};

export interface Allocation {
  readonly choice: Choice;
  /** The specialist of ours that has the port that was wanted. */
  readonly rival?: string;
}

export type PortOutcome =
  {readonly type: 'allocated'; readonly allocations: readonly Allocation[]} | {readonly type: 'released'};

/** An action that another process wrote; undefined: none that this version knows. */
export function parsePortAction(value: unknown): PortAction | undefined {
  if (!isObject(value)) return undefined;
  const {type, requests, range, holdMs, owner, uids} = value;
  if (type === 'release') {
    return Array.isArray(uids) && uids.every(uid => typeof uid === 'string') ? {type, uids} : undefined;
  }
  if (type !== 'allocate' || typeof holdMs !== 'number' || !isRange(range) || !isIdentity(owner)) return undefined;
  if (!Array.isArray(requests) || !requests.every(isRequest)) return undefined;
  return {type, requests, range, holdMs, owner};
}

export function unexpectedPortOutcome(outcome: PortOutcome): TektonError {
  return new TektonError(`internal error: a request for ports was answered with "${outcome.type}"`);
}

function isRequest(value: unknown): value is PortRequest {
  if (!isObject(value)) return false;
  const {aiId, uid, host, preferred, pinned, avoid, range} = value;
  const areTexts =
    typeof aiId === 'string' && typeof uid === 'string' && (host === undefined || typeof host === 'string');
  const arePorts = [preferred, pinned].every(port => port === undefined || isPort(port));
  const isList = avoid === undefined || (Array.isArray(avoid) && avoid.every(isPort));
  return areTexts && arePorts && isList && (range === undefined || isRange(range));
}

/** What was asked for may be out of bounds: that is answered, not dropped. */
function isPort(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value);
}

function isRange(value: unknown): value is PortRange {
  return isObject(value) && isPort(value['from']) && isPort(value['to']);
}

function isIdentity(value: unknown): value is ProcessIdentity {
  if (!isObject(value)) return false;
  const {pid, startTime, bootId} = value;
  return typeof pid === 'number' && typeof startTime === 'string' && typeof bootId === 'string';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
