/** Remarks that go with what is shown; they are for people, so they go to standard error. */
import type {CommandContext} from './context.js';
import type {Observation} from './observe.js';
import {writeLine} from './output.js';
import {qualifiedName} from './view.js';

/** Says that nothing converges by itself now, and which fleets' sources can't be applied. */
export async function writeNotices(
  {stderr}: CommandContext,
  {controller, fleets, statuses}: Observation,
): Promise<void> {
  const active = fleets.some(fleet => !fleet.stopped);
  if (controller === undefined && active) {
    await writeLine(stderr, 'no controller is running: nothing is kept as declared; start one with: tekton-ai up');
  }
  for (const status of statuses) {
    if (status.sourceError === undefined) continue;
    const {reason, message} = status.sourceError;
    await writeLine(stderr, `fleet ${qualifiedName(status)}: ${reason}: ${message}`);
  }
}
