import {createHash, createHmac} from 'node:crypto';
import type {WebhookDestination} from '../api/notifications.js';
import {kindOfContent, render, viewOf} from '../api/template.js';
import {version} from '../api/version.js';
import {DeliveryError} from './error.js';
import type {Message, NotifyDeps} from './deps.js';
import {deliver} from './http.js';
import type {DeliverySecrets} from './secrets.js';

/** @throws {DeliveryError} */
export async function sendWebhook(
  destination: WebhookDestination,
  message: Message,
  {
    clock,
    secrets,
    signal,
  }: {readonly clock: NotifyDeps['clock']; readonly secrets: DeliverySecrets; readonly signal: AbortSignal},
): Promise<void> {
  const {template, method, timeoutSeconds, retries} = destination;
  const url = await secrets.text(destination.url);
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    throw new DeliveryError('its address is no http:// or https:// URL', {retry: false});
  }
  const given = lowerCased(await secrets.all(destination.headers));
  const contentType = given['content-type'] ?? 'application/json';
  const view = viewOf(message.event, message.leftOut, message.revision);
  const body = template === undefined ? view.event : await render(template, view, kindOfContent(contentType));
  const key = destination.secret && (await secrets.value(destination.secret));
  const headers = {
    'user-agent': `tekton-ai/${version}`,
    ...given,
    'content-type': contentType,
    'x-tekton-event': message.event.reason,
    'x-tekton-delivery': deliveryId(message),
    ...(key !== undefined && {'x-tekton-signature-256': signatureOf(body, key)}),
  };
  const redact = (text: string): string => secrets.redact(text);
  await deliver({url, method, headers, body, timeoutMs: timeoutSeconds * 1000, retries, redact}, clock, signal);
}

/** As GitHub signs its own: receivers have the code already. */
export function signatureOf(body: string, key: string): string {
  return `sha256=${createHmac('sha256', key).update(body).digest('hex')}`;
}

/** The same for every try, those of a later controller too: who gets a message twice can tell. */
function deliveryId({event}: Message): string {
  return createHash('sha256').update(JSON.stringify(event)).digest('hex').slice(0, 32);
}

function lowerCased(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}
