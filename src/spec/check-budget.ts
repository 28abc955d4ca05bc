/** Whether a budget can bite: one that never does is a mistake that nobody would notice. */
import type {SpecialistFields} from '../api/documents.js';
import type {Problem} from '../api/errors.js';
import type {NamedProvider, Price, ProviderType} from '../api/types.js';
import {priceOf} from '../api/usage.js';
import type {Path} from '../api/validate.js';
import {choose} from './desire.js';
import type {SourceDocument} from './document.js';
import {defaultsPath, effective} from './fleet.js';
import type {Entry, Fleet} from './fleet.js';
import type {KnownProvider} from './providers.js';

/** They run models of one's own: without a price they cost nothing. */
const free: readonly ProviderType[] = ['ollama', 'offline', 'scripted'];

interface Used {
  readonly name: string;
  readonly model: string;
  readonly type: ProviderType;
  readonly price: 'none' | 'zero' | 'some';
}

/** Of an entry with `costPerDay`: every model that it may ask costs something known, and one of them something. */
export function checkBudget(
  fleet: Fleet,
  entry: Entry,
  providers: ReadonlyMap<string, KnownProvider>,
): readonly Problem[] {
  const limit = limitAt(fleet, entry);
  if (limit === undefined) return [];
  const {budget, tell} = limit;
  if (budget.tokensPerDay === undefined && budget.costPerDay === undefined) {
    // A limit that is there and was taken out has its problem already.
    if (limit.isWritten) return [];
    return [tell('`budget` has no limit', 'give it `tokensPerDay` or `costPerDay`')];
  }
  if (budget.costPerDay === undefined) return [];
  const used = modelsOf(fleet, entry, providers);
  const who = `\`${entry.name ?? '?'}\``;
  const unpriced = used.filter(({type, price}) => price === 'none' && !free.includes(type));
  if (unpriced.length > 0) {
    const hint = `add it under \`prices\` of the provider, or \`"*"\` for all of its models; {input: 0, output: 0} is for free`;
    return unpriced.map(({name, model}) => tell(`${who} has \`costPerDay\`, but ${name}:${model} has no price`, hint));
  }
  if (used.length === 0 || used.some(({price}) => price === 'some')) return [];
  const names = used.map(({name, model}) => `${name}:${model}`).join(', ');
  return [
    tell(`${who} can never reach its \`costPerDay\`: ${names} costs nothing`, 'limit `tokensPerDay`, or add `prices`'),
  ];
}

interface Limit {
  readonly budget: NonNullable<SpecialistFields['budget']>;
  readonly tell: (message: string, hint: string) => Problem;
  /** A limit stands in the file, valid or not. */
  readonly isWritten: boolean;
}

/** The budget of entry and defaults together, and where its strongest word on the cost stands. */
function limitAt(fleet: Fleet, entry: Entry): Limit | undefined {
  const inherited = fleet.fields.defaults?.budget;
  const own = entry.fields.budget;
  if (own === undefined && inherited === undefined) return undefined;
  const {source, path} = effective(fleet, entry, 'budget');
  const at = (from: SourceDocument, budgetPath: Path): Limit['tell'] => {
    const precise = [...budgetPath, 'costPerDay'];
    return (message, hint) => from.problem(from.has(precise) ? precise : budgetPath, 'value', message, hint);
  };
  const document = fleet.group.fleet?.source;
  const isInherited = own?.costPerDay === undefined && inherited?.costPerDay !== undefined && document !== undefined;
  const isWritten = ['tokensPerDay', 'costPerDay'].some(
    field => source.has([...path, field]) || document?.has([...defaultsPath, 'budget', field]) === true,
  );
  return {
    isWritten,
    budget: {...inherited, ...own},
    tell: isInherited ? at(document, [...defaultsPath, 'budget']) : at(source, path),
  };
}

function modelsOf(fleet: Fleet, entry: Entry, providers: ReadonlyMap<string, KnownProvider>): readonly Used[] {
  const {provider, model} = choose(fleet, entry, providers);
  const fallback = effective(fleet, entry, 'fallback').value ?? [];
  const asked = [{provider: provider.name, model: model?.name}, ...fallback];
  return asked.flatMap(({provider: name, model: declared}): readonly Used[] => {
    const known = providers.get(name);
    const asks = declared ?? known?.defaultModel?.model;
    if (!known || asks === undefined) return []; // that is told already
    const price = priceAt(known.spec, asks);
    const isZero = price !== undefined && price.input === 0 && price.output === 0 && (price.cachedInput ?? 0) === 0;
    return [{name, model: asks, type: known.spec.type, price: price ? (isZero ? 'zero' : 'some') : 'none'}];
  });
}

/** `auto` may come to ask either of its choices: a price of one of them is a price. */
function priceAt({prices, choices}: NamedProvider, model: string): Price | undefined {
  return [prices, choices?.anthropic?.prices, choices?.ollama?.prices]
    .map(one => priceOf(one, model))
    .find(price => price !== undefined);
}
