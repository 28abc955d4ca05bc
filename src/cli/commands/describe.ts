import {exitCodes} from '../../api/errors.js';
import {readEvents} from '../../registry/events.js';
import {statePaths} from '../../registry/paths.js';
import type {Command} from '../context.js';
import {knownSpecialists} from '../names.js';
import {writeNotices} from '../notices.js';
import {observe} from '../observe.js';
import type {DescribeOptions} from '../options.js';
import {write} from '../output.js';
import {describeText} from '../print/describe.js';
import {styleFor} from '../print/style.js';
import {selectOne} from '../select.js';

const eventCount = 10;

export const run: Command<DescribeOptions> = async (context, [name = ''], scope) => {
  const {home, color, stdout} = context;
  const {aiId} = await selectOne(knownSpecialists(home, scope), name);
  const observation = await observe(context, {...scope, aiIds: new Set([aiId])});
  const view = await selectOne(observation.specialists, aiId);
  await writeNotices(context, observation);
  const events = readEvents(home, {aiId: view.aiId, limit: eventCount});
  const logPath = statePaths(home).log(view.aiId);
  await write(stdout, describeText({view, events, logPath, style: styleFor(color), now: Date.now()}));
  return exitCodes.ok;
};
