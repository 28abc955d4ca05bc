/** The causal chain from the last change or event to the present state, as `why` prints it. */
import type {Reason} from '../../api/conditions.js';
import type {FleetEvent} from '../../api/types.js';
import {
  qualifiedName,
  whyCanaryFailed,
  whyDrifted,
  whyFallback,
  whyNotAsDeclared,
  whyNotReady,
  type SpecialistView,
} from '../view.js';
import {ageText} from './amounts.js';
import type {Style} from './style.js';

export interface WhyOptions {
  /** The specialist that was asked about, then each cause of the one before it. */
  readonly chain: readonly SpecialistView[];
  /** Of all of them and their fleets, oldest first. */
  readonly events: readonly FleetEvent[];
  readonly style: Style;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** More lines than these explain nothing. */
const mostEvents = 8;

/**
 * The specialist, and where it waits for another that one, and so on to the one where the cause lies. `before` are those
 * that were passed already: a circle ends there.
 */
export function causalChain(
  view: SpecialistView,
  all: readonly SpecialistView[],
  before: readonly SpecialistView[] = [],
): readonly SpecialistView[] {
  const chain = [...before, view];
  if (whyNotReady(view)?.reason !== 'DependencyNotReady') return chain;
  const {namespace, fleet, spec} = view;
  const cause = all
    .filter(other => other.namespace === namespace && other.fleet === fleet && !chain.includes(other))
    .find(other => spec?.dependsOn.includes(other.name) && whyNotReady(other) !== undefined);
  return cause === undefined ? chain : causalChain(cause, all, chain);
}

export function whyText({chain, events, style, now}: WhyOptions): string {
  const [asked] = chain;
  if (asked === undefined) return '';
  const cause = chain.at(-1) ?? asked;
  const why =
    whyNotReady(cause) ?? whyNotAsDeclared(cause) ?? whyDrifted(cause) ?? whyCanaryFailed(cause) ?? whyFallback(cause);
  const next = nextSteps[(why?.reason ?? 'Ready') as Reason];
  const past = history(events, asked);
  const shown = past.slice(-mostEvents);
  const left = past.length - shown.length;
  const named = (event: FleetEvent): string =>
    event.aiId === asked.aiId ? '' : `${event.aiId ?? event.fleet ?? '-'} `;
  return [
    ...chain.map((view, index) => `${index === 0 ? '' : `${'  '.repeat(index)}because `}${standing(view, now)}`),
    ...(left > 0 ? [style.dim(`  … ${left} earlier`)] : []),
    ...shown.map(
      event =>
        `  ${style.dim(event.at.slice(0, 19).replace('T', ' '))}  ${named(event)}${event.reason}: ${event.message}`,
    ),
    ...(next === undefined ? [] : [`next: ${next}`]),
  ]
    .map(line => `${line}\n`)
    .join('');
}

/** "athena is NotReady for 3m12s: ProviderUnreachable: cannot reach …" */
function standing(view: SpecialistView, now: number): string {
  const ready = view.status.conditions.find(c => c.type === 'Ready');
  const since = ready === undefined ? '' : ` for ${ageText(ready.lastTransitionTime, now)}`;
  const why = whyNotReady(view);
  const generation = view.generation > 0 ? ` (generation ${view.generation})` : '';
  const behind = whyNotAsDeclared(view);
  if (behind) {
    const text = `as it was declared before (generation ${view.status.observedGeneration} of ${view.generation})`;
    return `${qualifiedName(view)} is ${view.status.phase}${since}, ${text}: ${behind.reason}: ${behind.message}`;
  }
  const drift = why ? undefined : whyDrifted(view);
  if (drift) return `${qualifiedName(view)} is ${view.status.phase}${since}, not as declared: ${drift.message}`;
  const canary = why ? undefined : whyCanaryFailed(view);
  if (canary) return `${qualifiedName(view)} is ${view.status.phase}${since}, but its canary failed: ${canary.message}`;
  const fallback = whyFallback(view);
  if (fallback) return `${qualifiedName(view)} is ${view.status.phase}${since}: ${fallback.message}`;
  const reason = why === undefined ? `: it runs as declared${generation}` : `: ${why.reason}: ${why.message}`;
  return `${qualifiedName(view)} is ${view.status.phase}${since}${reason}`;
}

/** Events that begin a new chapter: what was before them explains nothing of what is now. */
const beginnings: ReadonlySet<string> = new Set([
  'Launched',
  'Adopted',
  'Reconfigured',
  'DriftHealed',
  'Restarted',
  'Stopped',
]);

/** What led here: of one that is Ready from what was done to it last, of another from the last time that it was Ready. */
function history(events: readonly FleetEvent[], asked: SpecialistView): readonly FleetEvent[] {
  const own = (event: FleetEvent): boolean => event.aiId === asked.aiId;
  const wasReady = events.findLastIndex(event => own(event) && event.reason === 'BecameReady');
  if (whyNotReady(asked) !== undefined) return events.slice(Math.max(wasReady, 0));
  const done = events.findLastIndex(event => own(event) && beginnings.has(event.reason));
  const applied = events.slice(0, done + 1).findLastIndex(event => event.reason === 'SourceApplied');
  const isItsCause = applied >= 0 && events.slice(applied + 1, done).every(event => !own(event));
  return events.slice(Math.max(isItsCause ? applied : done, 0));
}

/** What happens by itself from here, or what is asked of a person; docs/reference/conditions.md says more. */
const nextSteps: Partial<Readonly<Record<Reason, string>>> = {
  Launching: 'nothing to do: it is being started',
  Starting: 'nothing to do: its turn to be started comes',
  Restarting: 'nothing to do: it is started again with what changed',
  Draining: 'nothing to do: it ends when the chats under way have, or after its grace period',
  CanaryRunning: 'nothing to do: its canary prompts are being asked',
  CanaryFailed: 'change what answers, or the canary; ask it again with: tekton-ai canary',
  Drifted: 'put it right with: tekton-ai apply; or declare it so',
  BackingOff: 'it is started again by itself; if it stays so: tekton-ai logs',
  CrashLoop: 'mend what its last lines say (tekton-ai logs); it is tried again, ever more rarely',
  LaunchFailed: 'mend what the message says; it is tried again by itself',
  ProbeFailed: 'after a few missed pings it is killed and started again',
  Disabled: 'enable it (enabled: true), if it is to run',
  Stopped: 'start it with: tekton-ai up',
  Exited: 'its restartPolicy leaves it so: change the declaration, or find out why it ended with: tekton-ai logs',
  ProviderUnreachable: 'start the model server, or mend its address; Ready by itself when it answers',
  ProviderError: 'look at the provider, if it stays; Ready by itself when it answers',
  ModelNotFound: 'pull the model, or declare another; Ready by itself when it is there',
  Pulling: 'nothing to do: Ready by itself when the model is there',
  PullFailed: 'mend what the message says; it is tried again by itself, after 15 seconds to 10 minutes',
  Fallback: 'mend what is wrong with its own model, which answers again by itself then',
  Unauthorized: 'correct the key; it is looked at again by itself',
  SecretMissing: 'set what the message names',
  QuotaExceeded: 'see to the account at the provider',
  PortsExhausted: 'widen `ports` of the fleet, or stop something; looked at again every 10 seconds',
  PortTaken: 'free the port, or declare another; looked at again by itself',
  Conflict: 'rename one of the two, or remove it',
  RegistryUnavailable: 'mend what the message says; it is tried again by itself',
};
