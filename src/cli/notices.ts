/** Remarks that go with what is shown; they are for people, so they go to standard error. */
import type {FleetRecord} from '../api/types.js';
import {tellsOfWarned} from '../reconciler/drift.js';
import type {CommandContext} from './context.js';
import type {Observation} from './observe.js';
import {writeLine} from './output.js';
import {qualifiedName, whyCanaryFailed, whyDrifted, whyNotAsDeclared} from './view.js';

export async function writeNotices({stderr}: CommandContext, observation: Observation): Promise<void> {
  for (const line of noticeLines(observation)) await writeLine(stderr, line);
}

/** That nothing converges by itself now, and which fleets' sources can't be applied. */
export function noticeLines({controller, fleets, statuses, specialists}: Observation): readonly string[] {
  const lines: string[] = [];
  if (controller?.hung) {
    const help = `end it with kill -9 ${controller.pid}, then: tekton-ai up (the specialists live on)`;
    lines.push(`the controller (pid ${controller.pid}) does not answer: nothing is kept as declared; ${help}`);
  }
  if (controller === undefined && fleets.some(fleet => !fleet.stopped)) {
    lines.push('no controller is running: nothing is kept as declared; start one with: tekton-ai up');
  }
  for (const fleet of fleets) lines.push(...heldLines(fleet));
  for (const fleet of fleets) {
    if (fleet.expiresAt === undefined || fleet.stopped) continue;
    lines.push(`fleet ${qualifiedName(fleet)} stops itself at ${fleet.expiresAt} (more time: tekton-ai up --ttl 2h)`);
  }
  for (const view of specialists) {
    const why = whyNotAsDeclared(view);
    if (why) lines.push(`${qualifiedName(view)} serves on as it was declared before: ${why.reason}: ${why.message}`);
  }
  // Those of fleets that want to hear of it.
  for (const view of specialists) {
    const fleet = fleets.find(({name, namespace}) => name === view.fleet && namespace === view.namespace);
    const why = whyDrifted(view);
    if (why && tellsOfWarned(why.message, fleet?.driftPolicy)) {
      lines.push(`${qualifiedName(view)} is not as declared: ${why.message}`);
    }
  }
  for (const view of specialists) {
    const why = whyCanaryFailed(view);
    if (why) lines.push(`the canary of ${qualifiedName(view)} failed: ${why.message}`);
  }
  const ownerless = specialists.filter(view => view.fleet !== undefined && view.spec === undefined);
  if (ownerless.length > 0) {
    const names = ownerless.map(qualifiedName).join(', ');
    lines.push(`nothing declares ${names} any more: to keep them, apply their file again`);
  }
  for (const status of statuses) {
    if (status.sourceError === undefined) continue;
    const {reason, message} = status.sourceError;
    lines.push(`fleet ${qualifiedName(status)}: ${reason}: ${message}`);
  }
  return lines;
}

/** That a file's word doesn't count for some, for it stands nowhere in the file. */
export function heldLines({
  specialists,
  rollouts = {},
}: Pick<FleetRecord, 'specialists' | 'rollouts'>): readonly string[] {
  return specialists.flatMap(desired => {
    const held = rollouts[desired.aiId]?.held;
    if (held === undefined) return [];
    const name = qualifiedName(desired);
    if (held.by === 'canary') {
      return [
        `${name} is as it was before its canary failed, until its source says something else, or: tekton-ai rollout resume ${name}`,
      ];
    }
    return [
      `${name} is held by \`rollout ${held.by}\`: what its source says counts again after: tekton-ai rollout resume ${name}`,
    ];
  });
}
