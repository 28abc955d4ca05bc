/** Why there is no port. */
import {TektonError, exitCodes} from '../api/errors.js';
import type {PortRange} from '../api/types.js';
import type {PortHolder} from './port-holders.js';

export class PortsExhaustedError extends TektonError {
  override readonly name: string = 'PortsExhaustedError';
  readonly code = 'PortsExhausted';

  constructor(range: PortRange, holders: readonly string[]) {
    const shown = holders.slice(0, 12).join(', ');
    const more = holders.length > 12 ? `, and ${holders.length - 12} more` : '';
    super(`no free port in ${range.from}–${range.to}: held by ${shown}${more}`, {
      hint: 'Stop some of them, or widen `ports` of the fleet.',
    });
  }
}

/** A pinned port that is not to be had. */
export class PortTakenError extends TektonError {
  override readonly name: string = 'PortTakenError';
  readonly code = 'PortTaken';
  readonly port: number;
  /** Nobody listens on it: it is the local end of somebody's connection, and free again soon. */
  readonly transient: boolean;

  constructor(port: number, holder: string | undefined, transient: boolean) {
    const who = holder ?? (transient ? 'a connection of another program, for a moment' : 'another program');
    super(`port ${port} is taken by ${who}`, {
      exitCode: exitCodes.conflict,
      ...(transient ? {} : {hint: `Stop ${who}, or choose another port.`}),
    });
    this.port = port;
    this.transient = transient;
  }
}

/** No program holds the port, but it can't be bound at the wanted address. */
export class HostUnusableError extends TektonError {
  override readonly name: string = 'HostUnusableError';
  readonly code = 'PortTaken';

  constructor(host: string, port: number) {
    super(`cannot listen on ${host}:${port}: not an address of this machine, or not permitted`, {
      hint: 'Choose another `host` or `port`.',
    });
  }
}

export function holderText(holder: PortHolder): string {
  return `${holder.name} (pid ${holder.pid})`;
}
