/** From a destination and a message to a delivery: one try of it all, retries included. */
import type {Destination} from '../api/notifications.js';
import {render, viewOf} from '../api/template.js';
import type {Reported} from './commit-status.js';
import type {Message, NotifyDeps} from './deps.js';
import {DeliverySecrets} from './secrets.js';
import {sendWebhook} from './webhook.js';

export interface SendOptions {
  readonly deps: NotifyDeps;
  /** `.env.tekton`, where secrets are looked up after the environment. */
  readonly envFile: string | undefined;
  readonly signal: AbortSignal;
  /** What was said of commits before, for destinations that say a thing once. */
  readonly reported: Reported;
}

/** @throws {DeliveryError | TektonError} in words that hold no secret; the signal's reason when it aborts */
export async function send(
  to: Destination,
  message: Message,
  {deps, envFile, signal, reported}: SendOptions,
): Promise<void> {
  const secrets = new DeliverySecrets(deps, envFile);
  switch (to.type) {
    case 'webhook':
      return sendWebhook(to, message, {clock: deps.clock, secrets, signal});
    case 'command': {
      const {runCommand} = await import('./command.js');
      return runCommand(to, message, {deps, secrets, signal});
    }
    case 'commitStatus': {
      const {sendCommitStatus} = await import('./commit-status.js');
      return sendCommitStatus(to, message, {clock: deps.clock, secrets, signal, reported});
    }
    case 'file': {
      const view = viewOf(message.event, message.leftOut, message.revision);
      const text = to.template === undefined ? view.event : await render(to.template, view, 'text');
      return deps.append(to.path, `${text.replace(/\n$/, '')}\n`);
    }
  }
}

/** Where to, as a person knows it; an address that is a secret is only named by where it stands. */
export function describeDestination(to: Destination): string {
  switch (to.type) {
    case 'webhook':
      if (typeof to.url !== 'string') return `the address in ${'env' in to.url ? to.url.env : to.url.file}`;
      return URL.canParse(to.url) ? new URL(to.url).host : 'no address';
    case 'command':
      return to.argv[0] ?? 'no program';
    case 'file':
      return to.path;
    case 'commitStatus':
      return [to.provider, to.repository].join(' ').trim();
  }
}
