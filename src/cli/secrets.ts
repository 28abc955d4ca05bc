/** The token that a specialist asks of its clients, looked up the way its launch did. */
import type {Desired, FleetRecord} from '../api/types.js';

/** undefined: it asks for none, or the token can't be had here. The value is never printed. */
export async function tokenOf(
  {spec}: Pick<Desired, 'spec'>,
  {envFile}: Pick<FleetRecord, 'envFile'>,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<string | undefined> {
  if (spec.auth === undefined) return undefined;
  const {resolveSecret} = await import('../spec/secrets.js');
  const secret = await resolveSecret(spec.auth.token, {environment, envFile});
  return 'value' in secret ? secret.value : undefined;
}
