/** The token that a specialist asks of its clients, looked up the way its launch did. */
import {join} from 'node:path';
import type {Desired, FleetRecord} from '../api/types.js';
import type {CommandContext} from './context.js';

/** undefined: it asks for none, or the token can't be had here. The value is never printed. */
export async function tokenOf(
  {spec}: Pick<Desired, 'spec'>,
  {envFile}: Pick<FleetRecord, 'envFile'>,
  {environment, home}: Pick<CommandContext, 'environment' | 'home'>,
): Promise<string | undefined> {
  if (spec.auth === undefined) return undefined;
  const {resolveSecret} = await import('../spec/secrets.js');
  const secret = await resolveSecret(spec.auth.token, {environment, envFile, repositories: repositoriesOf(home)});
  return 'value' in secret ? secret.value : undefined;
}

/** Where the state folder has what was fetched from git: its links are not to be trusted. */
export function repositoriesOf(home: string): string {
  return join(home, 'git');
}
