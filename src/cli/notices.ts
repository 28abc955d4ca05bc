/** Remarks that go with what is shown; they are for people, so they go to standard error. */
import type {CommandContext} from './context.js';
import type {Observation} from './observe.js';
import {writeLine} from './output.js';
import {qualifiedName} from './view.js';

export async function writeNotices({stderr}: CommandContext, observation: Observation): Promise<void> {
  for (const line of noticeLines(observation)) await writeLine(stderr, line);
}

/** That nothing converges by itself now, and which fleets' sources can't be applied. */
export function noticeLines({controller, fleets, statuses}: Observation): readonly string[] {
  const lines: string[] = [];
  if (controller?.hung) {
    const help = `end it with kill -9 ${controller.pid}, then: tekton-ai up (the specialists live on)`;
    lines.push(`the controller (pid ${controller.pid}) does not answer: nothing is kept as declared; ${help}`);
  }
  if (controller === undefined && fleets.some(fleet => !fleet.stopped)) {
    lines.push('no controller is running: nothing is kept as declared; start one with: tekton-ai up');
  }
  for (const status of statuses) {
    if (status.sourceError === undefined) continue;
    const {reason, message} = status.sourceError;
    lines.push(`fleet ${qualifiedName(status)}: ${reason}: ${message}`);
  }
  return lines;
}
