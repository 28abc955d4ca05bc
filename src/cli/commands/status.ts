import {exitCodes} from '../../api/errors.js';
import {apiVersion} from '../../api/types.js';
import {residentBytes} from '../../registry/processes.js';
import type {Command} from '../context.js';
import {writeNotices} from '../notices.js';
import {observe, type Observation} from '../observe.js';
import type {StatusOptions} from '../options.js';
import {write, writeJson, writeLine, writeYaml} from '../output.js';
import {fleetDocument, type FleetDocument} from '../print/documents.js';
import {statusColumns, statusRow, unhealthyLines} from '../print/specialists.js';
import {styleFor} from '../print/style.js';
import {tableText} from '../print/table.js';

/** What the seed calls tekton-status: every component's specialist, its health, and why it is not well. */
export const run: Command<StatusOptions> = async (context, _args, scope) => {
  const observation = await observe(context, scope);
  await writeNotices(context, observation);
  const {specialists} = observation;
  if (scope.output !== 'table') {
    const print = scope.output === 'json' ? writeJson : writeYaml;
    await print(context.stdout, {apiVersion, kind: 'List', items: fleetsOf(observation)});
    return exitCodes.ok;
  }
  if (specialists.length === 0) {
    await writeLine(context.stderr, 'no specialists found');
    return exitCodes.ok;
  }
  const style = styleFor(context.color);
  const rows = await Promise.all(
    specialists.map(async view => {
      const pid = view.status.instance?.identity.pid;
      const memoryBytes = pid === undefined ? undefined : await residentBytes(pid);
      return statusRow(view, memoryBytes, {style, now: Date.now()});
    }),
  );
  const reasons = unhealthyLines(specialists, style);
  const below = reasons.length === 0 ? '' : `\n${reasons.map(line => `${line}\n`).join('')}`;
  await write(context.stdout, tableText(statusColumns, rows) + below);
  return exitCodes.ok;
};

function fleetsOf({fleets, specialists, statuses}: Observation): readonly FleetDocument[] {
  return fleets.map(record => {
    const told = statuses.find(({name, namespace}) => name === record.name && namespace === record.namespace);
    return fleetDocument(record, specialists, told);
  });
}
