import {componentKey} from '../../api/names.js';
import {exitCodes} from '../../api/errors.js';
import type {Command, CommandContext} from '../context.js';
import {knownSpecialists} from '../names.js';
import {writeNotices} from '../notices.js';
import {observe} from '../observe.js';
import type {GetOptions} from '../options.js';
import {write, writeJson, writeLine, writeYaml} from '../output.js';
import {listDocument, specialistDocument} from '../print/documents.js';
import {specialistColumns, specialistRow} from '../print/specialists.js';
import {styleFor} from '../print/style.js';
import {tableText} from '../print/table.js';
import {selectMany} from '../select.js';
import {refuseUnknownFleet} from '../unknown-fleet.js';
import type {SpecialistView} from '../view.js';

export const run: Command<GetOptions> = async (context, names, options) => {
  if (options.watch) return (await import('../watch.js')).watchSpecialists(context, names, options);
  const named = names.length === 0 ? [] : await selectMany(knownSpecialists(context.home, options), names);
  const aiIds = names.length === 0 ? {} : {aiIds: new Set(named.map(({aiId}) => aiId))};
  const observation = await observe(context, {...options, ...aiIds});
  await writeNotices(context, observation);
  const views = await chosen(context, observation.specialists, options);
  if (views.length === 0) refuseUnknownFleet(context.home, options);
  await print(context, views, names.length === 1, options);
  return exitCodes.ok;
};

/** What `--component` and `--role` leave: by the registry's word, or by the declaration of what is not running. */
export async function chosen(
  {home}: CommandContext,
  views: readonly SpecialistView[],
  {component, role}: Pick<GetOptions, 'component' | 'role'>,
): Promise<readonly SpecialistView[]> {
  if (component === undefined && role === undefined) return views;
  const {RegistryClient} = await import('../../registry/registry-client.js');
  const client = new RegistryClient({home});
  const withComponent = component === undefined ? undefined : idsOf(await client.findByComponent(component));
  const withRole = role === undefined ? undefined : idsOf(await client.findByRole(role));
  return views.filter(
    view =>
      (component === undefined ||
        withComponent?.has(view.aiId) ||
        componentKey(view.component) === componentKey(component)) &&
      (role === undefined || withRole?.has(view.aiId) || view.roles.includes(role)),
  );
}

function idsOf(found: readonly {readonly aiId: string}[]): ReadonlySet<string> {
  return new Set(found.map(({aiId}) => aiId));
}

async function print(
  context: CommandContext,
  views: readonly SpecialistView[],
  single: boolean,
  {output}: GetOptions,
): Promise<void> {
  const {stdout} = context;
  const [only] = views;
  const document = () => (single && only !== undefined ? specialistDocument(only) : listDocument(views));
  switch (output) {
    case 'json':
      return writeJson(stdout, document());
    case 'yaml':
      return writeYaml(stdout, document());
    case 'name':
      return write(stdout, views.map(nameLine).join(''));
    case 'table':
    case 'wide':
      return printTable(context, views, output === 'wide');
  }
}

/** "specialist/athena"; with the namespace where that is not the usual one, as every verb takes it. */
function nameLine({name, namespace}: SpecialistView): string {
  return namespace === 'default' ? `specialist/${name}\n` : `specialist/${namespace}/${name}\n`;
}

async function printTable(context: CommandContext, views: readonly SpecialistView[], wide: boolean): Promise<void> {
  if (views.length === 0) return writeLine(context.stderr, 'no specialists found');
  const options = {wide, style: styleFor(context.color), now: Date.now()};
  const rows = views.map(view => specialistRow(view, options));
  await write(context.stdout, tableText(specialistColumns(wide), rows));
}
