import {exitCodes} from '../../api/errors.js';
import type {Command, CommandContext} from '../context.js';
import {loadAll, meant, nearestFile, noneIsMeant} from '../load.js';
import type {ConfigViewOptions} from '../options.js';
import {write, writeJson, writeLine} from '../output.js';
import {fleetDeclaration} from '../print/fleet-declaration.js';
import type {FleetDeclaration} from '../print/fleet-declaration.js';
import {originText} from '../print/origin.js';
import {qualifiedName} from '../view.js';

/** Each fleet as it counts, as a document that `apply -f -` takes. Changes nothing. */
export const run: Command<ConfigViewOptions> = async (context, _args, options) => {
  const paths = options.files.length > 0 ? options.files : [await nearestFile(context.cwd)];
  const {fleets: all, providers, gitSources} = await loadAll(context, paths, options.variables);
  const fleets = meant(all, options);
  if (fleets.length === 0) throw noneIsMeant(all);
  const views = fleets.map(fleet => fleetDeclaration(fleet, providers.get(fleet) ?? {}));
  const remarks = [
    ...fleets.flatMap(fleet => fleet.notices),
    ...views.flatMap(view => view.remarks),
    ...gitSources.map(source => `git source ${qualifiedName(source)}: what it leads to was not read`),
  ];
  for (const remark of remarks) await writeLine(context.stderr, remark);
  if (options.output === 'json') {
    const documents = views.map(view => ({
      ...view.document,
      ...(options.sources && {origins: originsBySpecialist(view, context)}),
    }));
    await writeJson(context.stdout, {fleets: documents});
    return exitCodes.ok;
  }
  for (const [index, view] of views.entries()) {
    const text = await yamlText(view, options.sources ? context : undefined);
    await write(context.stdout, index === 0 ? text : `---\n${text}`);
  }
  return exitCodes.ok;
};

/** Specialist → dotted path → where it is from; what providers say is under `providers.<name>`. */
function originsBySpecialist(
  {document, origins}: FleetDeclaration,
  {cwd}: CommandContext,
): Readonly<Record<string, Readonly<Record<string, string>>>> {
  const entries = document.spec['specialists'] as readonly {readonly name: string}[]; // as fleetDeclaration makes it
  const found: Record<string, Record<string, string>> = Object.fromEntries(entries.map(({name}) => [name, {}]));
  for (const {keys, origin} of origins) {
    const [, list, which, ...path] = keys;
    const name = list === 'providers' ? `providers.${which ?? ''}` : (entries[Number(which)]?.name ?? '');
    (found[name] ??= {})[path.join('.')] = originText(origin, cwd);
  }
  return found;
}

/** @param commented whose working folder files are named from, where values are to say their sources */
async function yamlText({document, origins, remarks}: FleetDeclaration, commented?: CommandContext): Promise<string> {
  const {Document, isPair, isScalar, isSeq, isMap} = await import('yaml');
  const yaml = new Document(document, {aliasDuplicateObjects: false});
  if (remarks.length > 0) yaml.commentBefore = remarks.map(remark => ` ${remark}`).join('\n');
  if (commented) {
    for (const {keys, origin} of origins) {
      const text = ` ${originText(origin, commented.cwd)}`;
      const node = yaml.getIn(keys, true);
      if (isScalar(node) && !(typeof node.value === 'string' && node.value.includes('\n'))) {
        node.comment = text;
        continue;
      }
      // A list or a text of several lines has it above its key.
      const parent = yaml.getIn(keys.slice(0, -1), true);
      const pair = isMap(parent)
        ? parent.items.find(item => isScalar(item.key) && item.key.value === keys.at(-1))
        : undefined;
      if (isPair(pair) && isScalar(pair.key)) pair.key.commentBefore = text;
      if (isSeq(node)) node.flow = false;
    }
  }
  return yaml.toString({lineWidth: 0});
}
