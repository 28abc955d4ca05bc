/** The rows of `top`. */
import type {Phase} from '../../api/types.js';
import {qualifiedName} from '../view.js';
import {bytesText} from './amounts.js';
import {secondsText} from './usage.js';

/** How busy one that runs is; what it didn't say is absent. */
export interface Load {
  readonly aiId: string;
  readonly name: string;
  readonly namespace: string;
  readonly phase: Phase;
  /** Chats under way and waiting, and open connections (our own among them). */
  readonly active?: number;
  readonly queued?: number;
  readonly clients?: number;
  /** Over the last minute. */
  readonly requestsPerMinute?: number;
  readonly tokensPerSecond?: number;
  /** Seconds, over the last five minutes. */
  readonly latencyP50?: number;
  readonly latencyP95?: number;
  readonly firstTokenP50?: number;
  readonly firstTokenP95?: number;
  /** Of one processor, 1 is all of it. */
  readonly cpu?: number;
  readonly memoryBytes?: number;
}

const columns = [
  'NAME',
  'STATUS',
  'ACTIVE',
  'QUEUED',
  'REQ/MIN',
  'TOKENS/S',
  'P50',
  'P95',
  'FIRST-TOKEN',
  'CPU',
  'MEMORY',
];

export function topColumns(wide: boolean): readonly string[] {
  return wide ? [...columns, 'FIRST-P95', 'CLIENTS'] : columns;
}

export function topRow(load: Load, wide: boolean): readonly string[] {
  const {phase, active, queued, clients, cpu, memoryBytes} = load;
  const row = [
    qualifiedName(load),
    phase,
    numberText(active),
    numberText(queued),
    numberText(load.requestsPerMinute, 1),
    numberText(load.tokensPerSecond, 1),
    secondsText(load.latencyP50),
    secondsText(load.latencyP95),
    secondsText(load.firstTokenP50),
    cpu === undefined ? none : `${Math.round(cpu * 100)}%`,
    memoryBytes === undefined ? none : bytesText(memoryBytes),
  ];
  return wide ? [...row, secondsText(load.firstTokenP95), numberText(clients)] : row;
}

const none = '<none>';

function numberText(value: number | undefined, digits = 0): string {
  return value === undefined ? none : value.toFixed(digits);
}
