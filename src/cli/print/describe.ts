/** Everything about one specialist, as `describe` prints it. */
import type {Budget, BudgetState, FleetEvent, SpecialistSpec, Usage} from '../../api/types.js';
import {modelText, type SpecialistView} from '../view.js';
import {ageText, exitText} from './amounts.js';
import {eventLine} from './events.js';
import {phaseText, type Style} from './style.js';
import {tableText} from './table.js';
import {costText} from './usage.js';

export interface Described {
  readonly view: SpecialistView;
  /** The newest, oldest first. */
  readonly events: readonly FleetEvent[];
  readonly logPath: string;
  readonly style: Style;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export function describeText(described: Described): string {
  const {view, events, style, now} = described;
  const conditions = view.status.conditions.map(c => [
    `  ${c.type}`,
    c.status,
    c.reason,
    ageText(c.lastTransitionTime, now),
    c.message,
  ]);
  return [
    fieldsText([...identityFields(view), ...runtimeFields(described), ...specFields(view.spec)]),
    'Conditions:\n',
    conditions.length === 0 ? '  <none>\n' : tableText(['  TYPE', 'STATUS', 'REASON', 'SINCE', 'MESSAGE'], conditions),
    'Events:\n',
    events.length === 0 ? '  <none>\n' : events.map(event => `  ${eventLine(event, style)}\n`).join(''),
  ].join('');
}

type Field = readonly [label: string, value: string];

function identityFields({
  name,
  aiId,
  namespace,
  fleet,
  revision,
  component,
  roles,
  labels,
  spec,
}: SpecialistView): readonly Field[] {
  return [
    ['Name', name],
    ['AI ID', aiId],
    ['Namespace', namespace],
    ['Fleet', fleet ?? '<none>'],
    ...(revision ? [['Revision', `${revision.commit} of git source ${revision.source}`] as const] : []),
    ['Component', component],
    ...(spec === undefined ? [] : [['Title', spec.expertise.title] as const]),
    ['Roles', listText(roles)],
    ['Labels', listText(Object.entries(labels).map(([key, value]) => `${key}=${value}`))],
  ];
}

function runtimeFields({view, logPath, style, now}: Described): readonly Field[] {
  const {status, generation} = view;
  const {instance, host, port, model, restarts, usage, lastExit} = status;
  const exit = lastExit && [
    ['Last Exit', `${exitText(lastExit)}, ${ageText(lastExit.at, now)} ago`] as const,
    ...lastExit.stderrTail.map(line => ['', `  ${line}`] as const),
  ];
  return [
    ['Phase', phaseText(status.phase, style)],
    ['Generation', `${generation} (observed: ${status.observedGeneration})`],
    ['Model', model?.why === undefined ? modelText(view) : `${modelText(view)} (${model.why})`],
    ['Address', port === undefined ? '<none>' : `${host ?? '127.0.0.1'}:${port}`],
    ['Process', instance === undefined ? '<none>' : processText(instance, now)],
    ['Restarts', String(restarts)],
    ...(exit ?? []),
    ['Usage', usageText(usage)],
    ...(view.spec?.budget ? [['Budget', budgetText(view.spec.budget, status.budget)] as const] : []),
    ['Log', logPath],
  ];
}

function specFields(spec: SpecialistSpec | undefined): readonly Field[] {
  if (spec === undefined) return [];
  const {parameters, concurrency, dependsOn, restartPolicy, probes} = spec;
  const {periodSeconds, timeoutSeconds, failureThreshold, startupSeconds} = probes;
  return [
    ['Declared', `${spec.provider}:${spec.model}`],
    ['Parameters', listText(Object.entries(parameters).map(([key, value]) => `${key}=${JSON.stringify(value)}`))],
    ['Concurrency', `${concurrency.max} at once, ${concurrency.queue} queued`],
    ['Depends On', listText(dependsOn)],
    ['Restart Policy', restartPolicy],
    [
      'Probes',
      `every ${periodSeconds}s, ${timeoutSeconds}s each, ${failureThreshold} misses; start ${startupSeconds}s`,
    ],
  ];
}

function processText(
  {uid, identity, startedAt}: NonNullable<SpecialistView['status']['instance']>,
  now: number,
): string {
  return `pid ${identity.pid}, up ${ageText(startedAt, now)}, instance ${uid === '' ? '<unknown>' : uid}`;
}

function usageText({requests, inputTokens, outputTokens, errors, cancelled, cost}: Usage): string {
  return [
    `${requests} requests, ${inputTokens} tokens in, ${outputTokens} tokens out`,
    ...(cost === undefined ? [] : [`cost ${costText(cost)}`]),
    ...(errors === undefined ? [] : [`${errors} failed`]),
    ...(cancelled === undefined ? [] : [`${cancelled} cancelled`]),
  ].join(', ');
}

/** "200000 tokens or a cost of 5 a day (hard): spent". */
function budgetText({tokensPerDay, costPerDay, mode}: Budget, state: BudgetState | undefined): string {
  const limits = [
    ...(tokensPerDay === undefined ? [] : [`${tokensPerDay} tokens`]),
    ...(costPerDay === undefined ? [] : [`a cost of ${costPerDay}`]),
  ];
  const stands = state === undefined ? '' : state.exceeded ? `: spent on ${state.day} (UTC)` : ': not spent';
  return `${limits.join(' or ')} a day (${mode})${stands}`;
}

function fieldsText(fields: readonly Field[]): string {
  const width = Math.max(...fields.map(([label]) => label.length)) + 1;
  return fields
    .map(([label, value]) => `${(label === '' ? '' : `${label}:`).padEnd(width)}  ${value}`.trimEnd() + '\n')
    .join('');
}

function listText(values: readonly string[]): string {
  return values.length === 0 ? '<none>' : values.join(', ');
}
