import {statSync} from 'node:fs';
import {exitCodes} from '../../api/errors.js';
import type {FleetEvent} from '../../api/types.js';
import {readEvents} from '../../registry/events.js';
import {statePaths} from '../../registry/paths.js';
import type {Command, CommandContext} from '../context.js';
import {follow} from '../follow.js';
import {knownSpecialists} from '../names.js';
import type {EventsOptions, GlobalOptions} from '../options.js';
import {write, writeLine} from '../output.js';
import {eventLine} from '../print/events.js';
import {styleFor} from '../print/style.js';
import {selectOne} from '../select.js';

/** What happened, oldest first; with --watch also what happens from then on. */
export const run: Command<EventsOptions> = async (context, [name], options) => {
  const {home, stderr} = context;
  const aiId = name === undefined ? undefined : await aiIdOf(context, name, options);
  const {events: file} = statePaths(home);
  // Taken before reading, so that nothing is missed; what comes in between is found twice, and printed once.
  const end = statSync(file, {throwIfNoEntry: false})?.size ?? 0;
  const wanted = (event: FleetEvent) => (aiId === undefined || event.aiId === aiId) && isInScope(event, options);
  const past = readEvents(home).filter(wanted);
  await print(context, options.limit === 0 ? [] : past.slice(-options.limit));
  if (!options.watch) {
    if (past.length === 0) await writeLine(stderr, 'no events');
    return exitCodes.ok;
  }
  const shown = new Set(past.map(event => JSON.stringify(event)));
  let rest = '';
  for await (const text of follow(file, end, context.signal)) {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    const events = lines.flatMap(parse).filter(wanted);
    await print(
      context,
      events.filter(event => !shown.has(JSON.stringify(event))),
    );
  }
  return exitCodes.interrupted;
};

/** One that was pruned is known by its events alone. */
async function aiIdOf({home}: CommandContext, name: string, scope: GlobalOptions): Promise<string> {
  const aiIds = new Set(readEvents(home).map(event => event.aiId));
  const past = [name, `${name}-ai`].find(aiId => aiIds.has(aiId));
  const known = knownSpecialists(home, scope);
  const isKnown = known.some(one => one.aiId === name || one.name === name || `${one.namespace}/${one.name}` === name);
  if (past !== undefined && !isKnown) return past;
  return (await selectOne(known, name)).aiId;
}

function isInScope(event: FleetEvent, {namespace, fleet}: GlobalOptions): boolean {
  return (namespace ?? event.namespace) === event.namespace && (fleet ?? event.fleet) === event.fleet;
}

async function print({stdout, color}: CommandContext, events: readonly FleetEvent[]): Promise<void> {
  const style = styleFor(color);
  if (events.length > 0) await write(stdout, events.map(event => `${eventLine(event, style)}\n`).join(''));
}

function parse(line: string): readonly FleetEvent[] {
  try {
    const event = JSON.parse(line) as FleetEvent | null; // written by appendEvents, whole lines at once
    return typeof event?.at === 'string' && typeof event.reason === 'string' ? [event] : [];
  } catch {
    return [];
  }
}
