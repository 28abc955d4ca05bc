/** The rows of `get` and `status`. */
import {
  qualifiedName,
  modelText,
  readyText,
  whyCanaryFailed,
  whyDrifted,
  whyFallback,
  whyNotReady,
  type SpecialistView,
} from '../view.js';
import {ageText, bytesText} from './amounts.js';
import {stateText, type Style} from './style.js';

export interface RowOptions {
  readonly wide: boolean;
  readonly style: Style;
  /** Milliseconds since 1970. */
  readonly now: number;
}

const columns = ['NAME', 'COMPONENT', 'READY', 'STATUS', 'PROVIDER:MODEL', 'PORT', 'RESTARTS', 'AGE'];
const wideColumns = [...columns, 'PID', 'GENERATION', 'FLEET', 'REASON'];

export function specialistColumns(wide: boolean): readonly string[] {
  return wide ? wideColumns : columns;
}

export function specialistRow(view: SpecialistView, {wide, style, now}: RowOptions): readonly string[] {
  const {status} = view;
  const row = [
    qualifiedName(view),
    view.component,
    readyText(view),
    stateText(status, style),
    modelText(view),
    portText(view),
    String(status.restarts),
    uptimeText(view, now),
  ];
  if (!wide) return row;
  const {instance, observedGeneration} = status;
  const generation =
    view.generation === observedGeneration ? `${view.generation}` : `${view.generation} (at ${observedGeneration})`;
  const pid = instance === undefined ? '<none>' : String(instance.identity.pid);
  const {reason} = whyNotReady(view) ??
    whyDrifted(view) ??
    whyCanaryFailed(view) ??
    whyFallback(view) ?? {reason: 'Ready'};
  return [...row, pid, generation, fleetText(view), reason];
}

/** "dev", and "dev@1a2b3c4" where it is declared by a commit. */
function fleetText({fleet = '<none>', revision}: SpecialistView): string {
  return revision === undefined ? fleet : `${fleet}@${revision.commit.slice(0, 7)}`;
}

export const statusColumns = ['COMPONENT', 'AI-ID', 'PORT', 'MODEL', 'HEALTH', 'RESTARTS', 'UPTIME', 'MEMORY'];

/** @param memoryBytes resident memory of its process, where that could be read. */
export function statusRow(
  view: SpecialistView,
  memoryBytes: number | undefined,
  {style, now}: Omit<RowOptions, 'wide'>,
): readonly string[] {
  return [
    view.component,
    view.aiId,
    portText(view),
    modelText(view),
    stateText(view.status, style),
    String(view.status.restarts),
    uptimeText(view, now),
    memoryBytes === undefined ? '<none>' : bytesText(memoryBytes),
  ];
}

/** "athena-ai: ModelNotFound: model llama3 is not pulled …", one line for each that is not well. */
export function unhealthyLines(views: readonly SpecialistView[], style: Style): readonly string[] {
  return views.flatMap(view => {
    const why = whyNotReady(view);
    return why === undefined ? [] : [`${style.bold(view.aiId)}: ${why.reason}: ${why.message}`];
  });
}

function portText({status}: SpecialistView): string {
  return status.port === undefined ? '<none>' : String(status.port);
}

/** Time since its process began. */
function uptimeText({status}: SpecialistView, now: number): string {
  return status.instance === undefined ? '<none>' : ageText(status.instance.startedAt, now);
}
