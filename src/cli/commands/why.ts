import {exitCodes} from '../../api/errors.js';
import {readEvents} from '../../registry/events.js';
import type {Command} from '../context.js';
import {writeNotices} from '../notices.js';
import {observe} from '../observe.js';
import type {WhyOptions} from '../options.js';
import {write} from '../output.js';
import {styleFor} from '../print/style.js';
import {causalChain, whyText} from '../print/why.js';
import {selectOne} from '../select.js';

/** Why a specialist stands as it does. */
export const run: Command<WhyOptions> = async (context, [name = ''], scope) => {
  // All are looked at: the cause may lie with another.
  const observation = await observe(context, scope);
  const view = await selectOne(observation.specialists, name);
  await writeNotices(context, observation);
  const chain = causalChain(view, observation.specialists);
  const aiIds = new Set(chain.map(({aiId}) => aiId));
  const fleets = new Set(chain.map(({namespace, fleet}) => `${namespace}/${fleet}`));
  const events = readEvents(context.home).filter(event =>
    event.aiId === undefined ? fleets.has(`${event.namespace}/${event.fleet}`) : aiIds.has(event.aiId),
  );
  await write(context.stdout, whyText({chain, events, style: styleFor(context.color), now: Date.now()}));
  return exitCodes.ok;
};
