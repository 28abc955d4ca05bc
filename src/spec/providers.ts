/** The providers of a fleet: those it declares over those that are built in. */
import {anthropicKey, builtInProviders, defaultModels, defaultOllamaUrl, ollamaUrl} from '../api/defaults.js';
import {leaves} from '../api/hash.js';
import type {CallSettings, Json, NamedProvider, Origin, ProviderSpec, ProviderType} from '../api/types.js';
import {absolute, absolutePath, originAt} from './fleet.js';
import type {Fleet} from './fleet.js';

export interface KnownProvider {
  readonly spec: NamedProvider;
  /** By path (`provider.baseUrl`); a default model isn't in it: it shows as the model of those that use it. */
  readonly declared: Readonly<Record<string, Json>>;
  readonly origins: Readonly<Record<string, Origin>>;
  /** Of a specialist that names no model; undefined: it must name one. */
  readonly defaultModel: {readonly model: string; readonly origin: Origin} | undefined;
}

/** What a fleet says of its providers, by name: files of references absolute, addresses of the environment filled in. */
export type DeclaredProviders = Readonly<
  Record<string, {readonly spec: Readonly<Record<string, Json>>; readonly origins: Readonly<Record<string, Origin>>}>
>;

/** Those that the fleet declares itself. `origins` are by dotted path within each. */
export function declaredProviders(fleet: Fleet, known: ReadonlyMap<string, KnownProvider>): DeclaredProviders {
  return Object.fromEntries(
    Object.keys(fleet.fields.providers ?? {}).flatMap(name => {
      const found = known.get(name);
      return found ? [[name, asDeclared(found)] as const] : [];
    }),
  );
}

/** The key and address that are only built in stay so. */
function asDeclared({spec, declared, origins, defaultModel}: KnownProvider): DeclaredProviders[string] {
  const {name: _, apiKey, baseUrl, defaultModel: model, choices: __, ...rest} = spec;
  const isSaid = (field: string): boolean =>
    Object.keys(declared).some(path => path === `provider.${field}` || path.startsWith(`provider.${field}.`));
  const said = {
    ...rest,
    ...(baseUrl !== undefined && isSaid('baseUrl') && {baseUrl}),
    ...(apiKey && isSaid('apiKey') && {apiKey}),
    ...(model !== undefined && {defaultModel: model}),
  };
  const from = Object.entries(origins).map(([path, origin]) => [path.replace(/^provider\./, ''), origin] as const);
  return {
    spec: said as unknown as Readonly<Record<string, Json>>, // an interface has no index signature
    origins: {
      ...Object.fromEntries(from),
      ...(model !== undefined && defaultModel && {defaultModel: defaultModel.origin}),
    },
  };
}

/** By name. Providers whose type is missing or unknown are left out; that is told already. */
export function knownProviders(fleet: Fleet): ReadonlyMap<string, KnownProvider> {
  const declared = Object.entries(fleet.fields.providers ?? {}).flatMap(([name, spec]) => {
    const known = declaredProvider(fleet, name, spec);
    return known ? [[name, known] as const] : [];
  });
  const known = new Map<string, KnownProvider>([
    ...builtInProviders().map(spec => [spec.name, builtIn(fleet, spec)] as const),
    ...declared,
  ]);
  if (!declared.some(([name]) => name === 'auto')) known.set('auto', automatic(known));
  return known;
}

function declaredProvider(fleet: Fleet, name: string, given: ProviderSpec | undefined): KnownProvider | undefined {
  const source = fleet.group.fleet?.source;
  if (!source || typeof given !== 'object' || given.type === undefined) return undefined;
  const base = fleet.group.folder;
  const {defaultModel, ...rest} = given;
  const path = ['spec', 'providers', name];
  const spec: Omit<ProviderSpec, 'defaultModel'> = {
    ...rest,
    ...(rest.apiKey && {apiKey: absolute(rest.apiKey, source, [...path, 'apiKey'], base)}),
    ...(rest.script !== undefined && {script: absolutePath(rest.script, source, [...path, 'script'], base)}),
  };
  const fields = leaves(asJson(spec)).map(leaf => ({...leaf, dotted: ['provider', ...leaf.keys].join('.')}));
  const values = Object.fromEntries(fields.map(({dotted, value}) => [dotted, value]));
  const origins = fields.map(({dotted, keys}) => [dotted, originAt('file', source, [...path, ...keys])] as const);
  const model = defaultModel ?? defaultModels[spec.type];
  const origin: Origin =
    defaultModel === undefined ? {type: 'built-in'} : originAt('file', source, [...path, 'defaultModel']);
  return withAddress(fleet, {
    spec: {name, ...withKey(spec), ...(defaultModel !== undefined && {defaultModel})},
    declared: values,
    origins: Object.fromEntries(origins),
    defaultModel: model === undefined ? undefined : {model, origin},
  });
}

function builtIn(fleet: Fleet, spec: NamedProvider): KnownProvider {
  const model = defaultModels[spec.type];
  const defaultModel = model === undefined ? undefined : {model, origin: {type: 'built-in'} as const};
  const {baseUrl: _, ...withoutAddress} = spec;
  return withAddress(fleet, {spec: withoutAddress, declared: {}, origins: {}, defaultModel});
}

function withKey<T extends Omit<ProviderSpec, 'defaultModel'>>(spec: T): T {
  const usesAnthropic: readonly ProviderType[] = ['anthropic', 'auto'];
  return spec.apiKey === undefined && usesAnthropic.includes(spec.type) ? {...spec, apiKey: anthropicKey} : spec;
}

/** Ollama's address where none is declared: of OLLAMA_HOST, or its own default. */
function withAddress(fleet: Fleet, known: KnownProvider): KnownProvider {
  const {spec, declared, origins} = known;
  if (spec.baseUrl !== undefined || (spec.type !== 'ollama' && spec.type !== 'auto')) return known;
  const host = fleet.overrides.ollamaHost;
  const baseUrl = host && ollamaUrl(host.value);
  if (!host || baseUrl === undefined) return {...known, spec: {...spec, baseUrl: defaultOllamaUrl}};
  return {
    ...known,
    spec: {...spec, baseUrl},
    declared: {...declared, 'provider.baseUrl': baseUrl},
    origins: {...origins, 'provider.baseUrl': host.origin},
  };
}

/**
 * `auto` undeclared chooses between the fleet's own Ollama and Anthropic: it has the address of one and the key of the
 * other, and what holds for calls to each holds for its calls, too.
 */
function automatic(known: ReadonlyMap<string, KnownProvider>): KnownProvider {
  const ollama = ofType(known, 'ollama');
  const anthropic = ofType(known, 'anthropic');
  const borrowed = [
    ...pick(ollama, key => key === 'provider.baseUrl' || key === 'provider.keepAlive'),
    ...pick(anthropic, key => key.startsWith('provider.apiKey.')),
    ...settingsDeclared(ollama, 'ollama'),
    ...settingsDeclared(anthropic, 'anthropic'),
  ];
  const settings = {ollama: callSettings(ollama), anthropic: callSettings(anthropic)};
  const choices = {
    ...(settings.ollama && {ollama: settings.ollama}),
    ...(settings.anthropic && {anthropic: settings.anthropic}),
  };
  const {baseUrl, keepAlive} = ollama?.spec ?? {};
  return {
    spec: {
      name: 'auto',
      type: 'auto',
      ...(baseUrl !== undefined && {baseUrl}),
      ...(keepAlive !== undefined && {keepAlive}),
      apiKey: anthropic?.spec.apiKey ?? anthropicKey,
      ...(Object.keys(choices).length > 0 && {choices}),
    },
    declared: Object.fromEntries(borrowed.map(([key, value]) => [key, value])),
    origins: Object.fromEntries(borrowed.map(([key, , origin]) => [key, origin])),
    defaultModel: ollama?.defaultModel,
  };
}

/** undefined: nothing is declared. Ollama's address stands in the provider itself. */
function callSettings(from: KnownProvider | undefined): CallSettings | undefined {
  const {baseUrl, maxConcurrency, timeouts, prices, type} = from?.spec ?? {};
  const settings: CallSettings = {
    ...(baseUrl !== undefined && type === 'anthropic' && {baseUrl}),
    ...(maxConcurrency !== undefined && {maxConcurrency}),
    ...(timeouts && {timeouts}),
    ...(prices && {prices}),
  };
  return Object.keys(settings).length > 0 ? settings : undefined;
}

/** Under a path of their own, for the two may both have them. */
function settingsDeclared(
  from: KnownProvider | undefined,
  choice: keyof NonNullable<NamedProvider['choices']>,
): [string, Json, Origin][] {
  const fields = choice === 'anthropic' ? 'baseUrl|maxConcurrency|timeouts|prices' : 'maxConcurrency|timeouts|prices';
  const isSetting = new RegExp(`^provider\\.(${fields})(\\.|$)`);
  return pick(from, key => isSetting.test(key)).map(([key, value, origin]) => [
    key.replace(/^provider\./, `provider.choices.${choice}.`),
    value,
    origin,
  ]);
}

function ofType(known: ReadonlyMap<string, KnownProvider>, type: 'ollama' | 'anthropic'): KnownProvider | undefined {
  const found = known.get(type);
  if (found?.spec.type === type) return found;
  return [...known.values()].find(({spec}) => spec.type === type);
}

function pick(from: KnownProvider | undefined, wanted: (key: string) => boolean): [string, Json, Origin][] {
  return Object.entries(from?.declared ?? {})
    .filter(([key]) => wanted(key))
    .map(([key, value]) => [key, value, from?.origins[key] ?? {type: 'built-in'}]);
}

/** An interface has no index signature, so TypeScript doesn't see that it is JSON. */
function asJson(spec: Omit<ProviderSpec, 'defaultModel'>): Json {
  return spec as unknown as Json;
}
