/** From a checked fleet to what is desired of each specialist: the layers merged, with the origin of every value. */
import {canaryDefaults, defaultProvider, genericExpertise, specialistDefaults} from '../api/defaults.js';
import type {SpecialistFields} from '../api/documents.js';
import {hashOf, leaves} from '../api/hash.js';
import {aiIdOf, canonicalComponent} from '../api/names.js';
import type {Desired, Expertise, FallbackChoice, Json, NamedProvider, Origin, SpecialistSpec} from '../api/types.js';
import type {Path} from '../api/validate.js';
import {absolute, defaultsPath, dependenciesOf, includedExpertise, originAt, shippedComponent} from './fleet.js';
import type {Entry, Fleet} from './fleet.js';
import type {KnownProvider} from './providers.js';

export type ShippedExpertise = (component: string) => Promise<Expertise | undefined>;

export interface Chosen {
  readonly provider: {readonly name: string; readonly origin: Origin};
  /** undefined: none is declared, and the provider has no default. */
  readonly model: {readonly name: string; readonly origin: Origin} | undefined;
}

/** The specialist that an entry of a fleet without problems declares. */
export async function desire(
  fleet: Fleet,
  entry: Entry,
  providers: ReadonlyMap<string, KnownProvider>,
  shipped: ShippedExpertise,
): Promise<Desired> {
  const component = canonicalComponent(entry.fields.component ?? '');
  const chosen = choose(fleet, entry, providers);
  const provider = providers.get(chosen.provider.name);
  if (!provider || !chosen.model || entry.name === undefined) {
    throw new Error(`internal error: ${component} was not checked`);
  }

  const merged = mergedFields(fleet, entry, component);
  const fallback = fallbacks(merged, providers);
  const {declared, origins} = declaredOf(fleet, entry, {component, merged, chosen, provider, fallback});
  const {provider: _, model: __, fallback: ___, expertise, ...rest} = merged;
  const catalogue = (await shipped(shippedComponent(fleet, component))) ?? genericExpertise(component);
  const spec: SpecialistSpec = {
    ...withDefaults(rest),
    component,
    provider: chosen.provider.name,
    model: chosen.model.name,
    fallback: fallback.map(({choice}) => choice),
    expertise: {...catalogue, ...expertise},
  };
  const {name} = entry;
  const {namespace} = fleet;
  return {
    aiId: aiIdOf({namespace, name, component}),
    name,
    namespace,
    fleet: fleet.name,
    labels: entry.labels,
    spec,
    provider: provider.spec,
    ...(fallback.length > 0 && {fallbackProviders: fallback.map(({known}) => known.spec)}),
    generation: 0,
    declared,
    specHash: hashOf(declared),
    origins,
  };
}

/**
 * Provider and model of an entry. A model goes only to the provider that it was declared for: where the provider is
 * another one (by an override, or because the entry names its own), that one's default model is used.
 */
export function choose(fleet: Fleet, entry: Entry, providers: ReadonlyMap<string, KnownProvider>): Chosen {
  const provider = fleet.overrides.provider
    ? {name: fleet.overrides.provider.value, origin: fleet.overrides.provider.origin}
    : declaredProvider(fleet, entry);
  const override = entry.fields.component === undefined ? undefined : fleet.overrides.modelOf(entry.fields.component);
  if (override) return {provider, model: {name: override.value, origin: override.origin}};
  const declared = declaredModel(fleet, entry);
  if (declared?.provider === provider.name) return {provider, model: declared};
  const fallback = providers.get(provider.name)?.defaultModel;
  return {provider, model: fallback && {name: fallback.model, origin: fallback.origin}};
}

function declaredProvider(fleet: Fleet, {fields, source, path}: Entry): Chosen['provider'] {
  if (fields.provider !== undefined) {
    return {name: fields.provider, origin: originAt('file', source, [...path, 'provider'])};
  }
  const inherited = fleet.fields.defaults?.provider;
  if (inherited === undefined || !fleet.group.fleet) return {name: defaultProvider, origin: {type: 'built-in'}};
  return {name: inherited, origin: originAt('fleet-default', fleet.group.fleet.source, [...defaultsPath, 'provider'])};
}

/** The declared model and the provider that it was declared for. */
function declaredModel(fleet: Fleet, entry: Entry): {name: string; provider: string; origin: Origin} | undefined {
  const {fields, source, path} = entry;
  if (fields.model !== undefined) {
    const provider = declaredProvider(fleet, entry).name;
    return {name: fields.model, provider, origin: originAt('file', source, [...path, 'model'])};
  }
  const {model, provider = defaultProvider} = fleet.fields.defaults ?? {};
  if (model === undefined || !fleet.group.fleet) return undefined;
  return {
    name: model,
    provider,
    origin: originAt('fleet-default', fleet.group.fleet.source, [...defaultsPath, 'model']),
  };
}

/** Own fields over the fleet's defaults over its Expertise document; files of references absolute. */
function mergedFields(fleet: Fleet, entry: Entry, component: string): SpecialistFields {
  const cwd = fleet.group.folder;
  const base = fleet.fields.defaults ?? {};
  const under = fleet.group.fleet ? withAbsoluteFiles(base, fleet.group.fleet.source, defaultsPath, cwd) : base;
  const over = withAbsoluteFiles(entry.fields, entry.source, entry.path, cwd);
  const dependsOn = dependenciesOf(fleet, entry);
  const included = includedExpertise(fleet, component)?.fields;
  return {
    ...under,
    ...over,
    ...merge('parameters', under, over),
    ...merge('concurrency', under, over),
    ...merge('sessions', under, over),
    ...merge('budget', under, over),
    ...merge('probes', under, over),
    ...merge('env', under, over),
    ...(dependsOn.length > 0 || over.dependsOn ? {dependsOn} : {dependsOn: []}),
    expertise: {...included, ...under.expertise, ...over.expertise},
  };
}

function merge(
  field: 'parameters' | 'concurrency' | 'sessions' | 'budget' | 'probes' | 'env',
  under: SpecialistFields,
  over: SpecialistFields,
) {
  const merged = {...under[field], ...over[field]};
  return Object.keys(merged).length === 0 ? {} : {[field]: merged};
}

function withAbsoluteFiles(
  fields: SpecialistFields,
  source: Entry['source'],
  path: Path,
  cwd: string,
): SpecialistFields {
  const env = Object.entries(fields.env ?? {}).map(
    ([name, value]) =>
      [name, typeof value === 'string' ? value : absolute(value, source, [...path, 'env', name], cwd)] as const,
  );
  return {
    ...fields,
    ...(fields.env && {env: Object.fromEntries(env)}),
    ...(fields.auth && {auth: {token: absolute(fields.auth.token, source, [...path, 'auth', 'token'], cwd)}}),
  };
}

interface Fallback {
  readonly choice: FallbackChoice;
  readonly known: KnownProvider & {readonly spec: NamedProvider};
}

/** Without a model of its own each has its provider's default. */
function fallbacks(
  {fallback = []}: SpecialistFields,
  providers: ReadonlyMap<string, KnownProvider>,
): readonly Fallback[] {
  return fallback.map(({provider, model: declared}) => {
    const known = providers.get(provider);
    const model = declared ?? known?.defaultModel?.model;
    if (!known || model === undefined) throw new Error(`internal error: fallback ${provider} was not checked`);
    return {choice: {provider, model}, known};
  });
}

function withDefaults({
  budget,
  canary,
  ...fields
}: Omit<SpecialistFields, 'provider' | 'model' | 'expertise' | 'fallback'>) {
  const {concurrency, sessions, probes} = specialistDefaults;
  return {
    ...specialistDefaults,
    ...fields,
    ...(budget && {budget: {mode: 'soft' as const, ...budget}}),
    ...(canary && {canary: {...canaryDefaults, ...canary}}),
    concurrency: {...concurrency, ...fields.concurrency},
    sessions: {...sessions, ...fields.sessions},
    probes: {...probes, ...fields.probes},
  };
}

interface Parts {
  readonly component: string;
  readonly merged: SpecialistFields;
  readonly chosen: Chosen;
  readonly provider: KnownProvider;
  readonly fallback: readonly Fallback[];
}

/** What somebody said, and who: values that only a built-in default gives are left out. */
function declaredOf(
  fleet: Fleet,
  entry: Entry,
  {component, merged, chosen, provider, fallback}: Parts,
): Pick<Desired, 'declared' | 'origins'> {
  const {provider: _, model: __, dependsOn = [], ...fields} = merged;
  const said = {...fields, component, ...(dependsOn.length > 0 && {dependsOn})};
  const values = leaves(said as unknown as Json); // an interface has no index signature
  const all: [string, Json, Origin][] = [
    ...values.map(({keys, value}): [string, Json, Origin] => [keys.join('.'), value, originOf(fleet, entry, keys)]),
    ...Object.entries(provider.declared).map(([path, value]): [string, Json, Origin] => [
      path,
      value,
      provider.origins[path] ?? builtIn,
    ]),
    ...fallback.flatMap(({choice, known}) =>
      Object.entries(known.declared).map(([path, value]): [string, Json, Origin] => [
        path.replace(/^provider\./, `fallbackProvider.${choice.provider}.`),
        value,
        known.origins[path] ?? builtIn,
      ]),
    ),
  ];
  if (chosen.provider.origin.type !== 'built-in') all.push(['provider', chosen.provider.name, chosen.provider.origin]);
  if (chosen.model && chosen.model.origin.type !== 'built-in') {
    all.push(['model', chosen.model.name, chosen.model.origin]);
  }
  return {
    declared: Object.fromEntries(all.map(([path, value]) => [path, value])),
    origins: Object.fromEntries(all.map(([path, , origin]) => [path, origin])),
  };
}

const builtIn: Origin = {type: 'built-in'};

/** The layer that has the very path: of merged values each leaf comes from the strongest layer that says it. */
function originOf(fleet: Fleet, entry: Entry, keys: readonly string[]): Origin {
  const own = [...entry.path, ...keys];
  if (entry.source.has(own)) return originAt('file', entry.source, own);
  const inherited = [...defaultsPath, ...keys];
  if (fleet.group.fleet?.source.has(inherited)) return originAt('fleet-default', fleet.group.fleet.source, inherited);
  const included = keys[0] === 'expertise' ? includedExpertise(fleet, entry.fields.component ?? '') : undefined;
  return included ? originAt('file', included.source, ['spec', ...keys.slice(1)]) : builtIn;
}
