/** What a specialist says of itself on its own port. */
import type {FleetRecord} from '../api/types.js';
import type {HealthReply} from '../protocol/messages.js';
import type {CommandContext} from './context.js';
import {tokenFor} from './talk.js';
import {openConnection} from './verify.js';
import type {SpecialistView} from './view.js';

const patienceMs = 3_000;

/** undefined: it has no port, gives no answer within three seconds, or refuses us. */
export async function askHealth(
  view: SpecialistView,
  fleets: readonly FleetRecord[],
  context: CommandContext,
): Promise<HealthReply | undefined> {
  const {host = '127.0.0.1', port, instance} = view.status;
  if (port === undefined || instance === undefined) return undefined;
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(patienceMs)]);
  try {
    const token = await tokenFor(view, fleets, context);
    const connection = await openConnection({host, port, ...(token !== undefined && {token})}, signal);
    try {
      const health = await connection.request({type: 'health'}, {signal});
      return health.ai_id === view.aiId ? health : undefined;
    } finally {
      connection.close();
    }
  } catch {
    return undefined;
  }
}
