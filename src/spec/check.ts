/** What no schema can see: names that refer to nothing, numbers that don't fit, fields that need each other. */
import {ollamaUrl} from '../api/defaults.js';
import type {SpecialistFields} from '../api/documents.js';
import type {Problem} from '../api/errors.js';
import {defaultName} from '../api/names.js';
import {suggest} from '../api/suggest.js';
import {defaultPorts} from '../api/types.js';
import type {PortRange} from '../api/types.js';
import type {Path} from '../api/validate.js';
import {checkBudget} from './check-budget.js';
import {checkCanaries} from './check-canary.js';
import {checkDigests} from './check-digest.js';
import {checkFleetDependencies} from './check-fleet-dependencies.js';
import {circleFrom} from './circles.js';
import {choose} from './desire.js';
import type {SourceDocument} from './document.js';
import {defaultsPath, dependenciesOf, effective} from './fleet.js';
import type {Entry, Fleet} from './fleet.js';
import type {KnownProvider} from './providers.js';
import {refusalOf} from './worker-variables.js';

/** All that is wrong inside of one fleet. Parts that the schema has refused are absent and nothing is said of them. */
export function checkFleet(fleet: Fleet, providers: ReadonlyMap<string, KnownProvider>): readonly Problem[] {
  return [
    ...checkRange(fleet),
    ...checkOllamaHost(fleet),
    ...checkProviders(fleet),
    ...checkProviderNames(fleet, providers),
    ...checkDigests(fleet, providers),
    ...fleet.entries.flatMap(entry => [
      ...checkNamespace(fleet, entry),
      ...checkModel(fleet, entry, providers),
      ...checkPull(fleet, entry, providers),
      ...checkFallback(entry.source, [...entry.path, 'fallback'], entry.fields, providers),
      ...checkBudget(fleet, entry, providers),
      ...checkPort(fleet, entry),
      ...checkHost(fleet, entry),
      ...checkEnv(entry.source, [...entry.path, 'env'], entry.fields),
    ]),
    ...(fleet.group.fleet
      ? [
          ...checkEnv(fleet.group.fleet.source, [...defaultsPath, 'env'], fleet.fields.defaults ?? {}),
          ...checkFallback(
            fleet.group.fleet.source,
            [...defaultsPath, 'fallback'],
            fleet.fields.defaults ?? {},
            providers,
          ),
        ]
      : []),
    ...checkDependencies(fleet),
    ...checkCanaries(fleet),
  ];
}

/** What must be different for all specialists that are loaded together: names within a namespace, and pinned ports. */
export function checkTogether(fleets: readonly Fleet[]): readonly Problem[] {
  const all = fleets.flatMap(fleet => fleet.entries.map(entry => ({fleet, entry})));
  const names = new Map<string, Entry>();
  const ports = new Map<number, Entry>();
  const problems: Problem[] = [];
  for (const {fleet, entry} of all) {
    const {source, namePath, name} = entry;
    if (name !== undefined) {
      const key = `${fleet.namespace}/${name}`;
      const first = names.get(key);
      if (first) {
        const hint = namePath.at(-1) === 'component' ? 'give one of the two a `name` of its own' : undefined;
        problems.push(
          source.problem(
            namePath,
            'value',
            `the name \`${name}\` is already taken by ${placeOf(first, first.namePath)}`,
            hint,
          ),
        );
      } else names.set(key, entry);
    }
    const pinned = effective(fleet, entry, 'port');
    if (pinned.value === undefined) continue;
    const first = ports.get(pinned.value);
    if (first) {
      const message = `port ${pinned.value} is already pinned by \`${first.name ?? '?'}\` at ${placeOf(first, first.path)}`;
      problems.push(
        pinned.source.problem(pinned.path, 'value', message, 'leave `port` out: a free one is allocated, and kept'),
      );
    } else ports.set(pinned.value, entry);
  }
  return [...problems, ...checkFleetNames(fleets), ...checkFleetDependencies(fleets)];
}

function checkFleetNames(fleets: readonly Fleet[]): readonly Problem[] {
  const known = new Map<string, Fleet>();
  return fleets.flatMap(fleet => {
    const key = `${fleet.namespace}/${fleet.name}`;
    const first = known.get(key)?.group;
    known.set(key, fleet);
    if (!first) return [];
    const where = first.fleet ? `in ${first.fleet.source.file}` : 'by the Specialist documents that belong to no other';
    const document = fleet.group.fleet;
    if (document) {
      return [
        document.source.problem(
          ['metadata', 'name'],
          'value',
          `a fleet \`${fleet.name}\` is already declared ${where}`,
        ),
      ];
    }
    // Bare documents come last: the fleet that they collide with is a declared one.
    const message = `this belongs to the implicit fleet \`${fleet.name}\`, which ${first.fleet?.source.file ?? 'another file'} declares`;
    const hint = 'let that fleet `include` this file';
    return fleet.group.specialists.slice(0, 1).map(({source}) => source.problem(['kind'], 'value', message, hint));
  });
}

function placeOf({source}: Entry, path: Path): string {
  const {document, path: within} = source.written(path);
  return `${document.file}:${document.place(within).line}`;
}

export function rangeOf(fleet: Fleet): PortRange {
  return {from: fleet.fields.ports?.from ?? defaultPorts.from, to: fleet.fields.ports?.to ?? defaultPorts.to};
}

function checkRange(fleet: Fleet): readonly Problem[] {
  const {from, to} = rangeOf(fleet);
  const source = fleet.group.fleet?.source;
  if (!source || from <= to) return [];
  return [source.problem(['spec', 'ports'], 'value', `the range of ports is empty: it goes from ${from} to ${to}`)];
}

function checkProviders(fleet: Fleet): readonly Problem[] {
  const source = fleet.group.fleet?.source;
  if (!source) return [];
  return Object.entries(fleet.fields.providers ?? {}).flatMap(([name, provider]) => {
    const path = ['spec', 'providers', name];
    // A field that is there and was taken out has its problem already.
    const lacks = (field: 'baseUrl' | 'script'): boolean =>
      provider?.[field] === undefined && !source.has([...path, field]);
    if (provider?.type === 'openai' && lacks('baseUrl')) {
      return [
        source.problem(path, 'key', `provider \`${name}\` needs a \`baseUrl\``, 'such as http://127.0.0.1:8000/v1'),
      ];
    }
    if (provider?.type === 'scripted' && lacks('script')) {
      return [source.problem(path, 'key', `provider \`${name}\` needs a \`script\``, 'the path of its answers file')];
    }
    if (provider?.baseUrl !== undefined && !URL.canParse(provider.baseUrl)) {
      return [source.problem([...path, 'baseUrl'], 'value', '`baseUrl` is not a URL')];
    }
    return [];
  });
}

function checkProviderNames(fleet: Fleet, providers: ReadonlyMap<string, KnownProvider>): readonly Problem[] {
  const names = [...new Set([...providers.keys(), ...Object.keys(fleet.fields.providers ?? {})])];
  const check = (name: string | undefined, tell: (message: string, hint?: string) => Problem): readonly Problem[] => {
    if (name === undefined) return [];
    if (!names.includes(name)) {
      // One that is there and was taken out has its problem already.
      if (fleet.group.fleet?.source.has(['spec', 'providers', name]) === true) return [];
      return [tell(`there is no provider \`${name}\``, suggest(name, names) ?? `there are ${names.sort().join(', ')}`)];
    }
    const {spec} = providers.get(name) ?? {};
    const lacksScript =
      spec?.type === 'scripted' && spec.script === undefined && !Object.hasOwn(fleet.fields.providers ?? {}, name);
    return lacksScript
      ? [
          tell(
            `provider \`${name}\` needs a \`script\``,
            'declare it under `providers`, with the path of its answers file',
          ),
        ]
      : [];
  };
  const at = (source: SourceDocument, path: Path) => (message: string, hint?: string) =>
    source.problem(path, 'value', message, hint);
  const document = fleet.group.fleet?.source;
  const override = fleet.overrides.provider;
  return [
    ...check(override?.value, (message, hint) => {
      const place = override && fleet.overrides.placeOf(override);
      return {...(place ?? nowhere), message: `TEKTON_AI_PROVIDER: ${message}`, ...(hint !== undefined && {hint})};
    }),
    ...(document ? check(fleet.fields.defaults?.provider, at(document, [...defaultsPath, 'provider'])) : []),
    ...fleet.entries.flatMap(({source, path, fields}) => check(fields.provider, at(source, [...path, 'provider']))),
  ];
}

const nowhere = {file: 'environment', line: 1, column: 1};

function checkOllamaHost({overrides}: Fleet): readonly Problem[] {
  const host = overrides.ollamaHost;
  if (!host) return [];
  const url = ollamaUrl(host.value);
  if (url === undefined) {
    return [{...overrides.placeOf(host), message: 'OLLAMA_HOST is not an address', hint: 'such as 127.0.0.1:11434'}];
  }
  const {username, password} = new URL(url);
  if (username === '' && password === '') return [];
  return [
    {...overrides.placeOf(host), message: 'OLLAMA_HOST holds a password: addresses are recorded, so they may not'},
  ];
}

function checkNamespace(fleet: Fleet, {source}: Entry): readonly Problem[] {
  const metadata = source.value['metadata'] as {namespace?: unknown} | undefined; // of a checked document
  const own = metadata?.namespace;
  if (typeof own !== 'string' || own === fleet.namespace) return [];
  const message = `namespace \`${own}\` is not that of the fleet \`${fleet.name}\`, which is \`${fleet.namespace}\``;
  return [source.problem(['metadata', 'namespace'], 'value', message)];
}

function checkModel(fleet: Fleet, entry: Entry, providers: ReadonlyMap<string, KnownProvider>): readonly Problem[] {
  const {provider, model} = choose(fleet, entry, providers);
  if (model || !providers.has(provider.name)) return [];
  const message = `\`${entry.name ?? '?'}\` needs a \`model\`: provider \`${provider.name}\` has no default model`;
  const path = entry.fields.provider === undefined ? entry.namePath : [...entry.path, 'provider'];
  return [entry.source.problem(path, 'value', message, 'or give the provider a `defaultModel`')];
}

/** Asked for by the specialist itself: in the defaults it means those that it can mean something for. */
function checkPull(fleet: Fleet, entry: Entry, providers: ReadonlyMap<string, KnownProvider>): readonly Problem[] {
  const {fields, source, path} = entry;
  const {name} = choose(fleet, entry, providers).provider;
  const type = providers.get(name)?.spec.type;
  if (fields.pull !== 'IfNotPresent' || type === undefined || type === 'ollama' || type === 'auto') return [];
  const message = `only Ollama fetches models, and provider \`${name}\` is of type ${type}`;
  return [source.problem([...path, 'pull'], 'value', message, 'leave `pull` out')];
}

/** The provider of each is there, decides for itself, and has a model. */
function checkFallback(
  source: SourceDocument,
  path: Path,
  {fallback = []}: SpecialistFields,
  providers: ReadonlyMap<string, KnownProvider>,
): readonly Problem[] {
  return fallback.flatMap(({provider, model}, index) => {
    const at = [...path, String(index), 'provider'];
    const known = providers.get(provider);
    if (!known) {
      const names = [...providers.keys()];
      const hint = suggest(provider, names) ?? `there are ${names.sort().join(', ')}`;
      return [source.problem(at, 'value', `there is no provider \`${provider}\``, hint)];
    }
    if (known.spec.type === 'auto') {
      const hint = 'name those that it would choose from, such as ollama and anthropic';
      return [source.problem(at, 'value', `\`${provider}\` chooses by itself, so it can't be a fallback`, hint)];
    }
    if (known.spec.type === 'scripted' && known.spec.script === undefined) {
      return [source.problem(at, 'value', `provider \`${provider}\` needs a \`script\``)];
    }
    if (model !== undefined || known.defaultModel) return [];
    const message = `this needs a \`model\`: provider \`${provider}\` has no default model`;
    return [source.problem(at, 'value', message, 'or give the provider a `defaultModel`')];
  });
}

function checkPort(fleet: Fleet, entry: Entry): readonly Problem[] {
  const {value, source, path} = effective(fleet, entry, 'port');
  const {from, to} = rangeOf(fleet);
  if (value === undefined || (value >= from && value <= to) || from > to) return [];
  return [source.problem(path, 'value', `port ${value} is outside of the fleet's range, ${from} to ${to}`)];
}

function checkHost(fleet: Fleet, entry: Entry): readonly Problem[] {
  const {value, source, path} = effective(fleet, entry, 'host');
  const {value: auth, source: authSource, path: authPath} = effective(fleet, entry, 'auth');
  if (value === undefined || isLoopback(value) || auth !== undefined || authSource.has(authPath)) return [];
  const hint = 'add `auth: {token: {env: NAME}}`, or leave `host` out';
  return [
    source.problem(
      path,
      'value',
      `\`${value}\` can be reached from other machines, so \`auth.token\` is required`,
      hint,
    ),
  ];
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

function checkEnv(source: SourceDocument, path: Path, {env = {}}: SpecialistFields): readonly Problem[] {
  return Object.keys(env).flatMap(name => {
    const reason = refusalOf(name, 'file');
    return reason === undefined
      ? []
      : [source.problem([...path, name], 'key', `\`${name}\` may not be set: ${reason}`)];
  });
}

function checkDependencies(fleet: Fleet): readonly Problem[] {
  const byName = new Map(
    fleet.entries.flatMap(entry => (entry.name === undefined ? [] : [[entry.name, entry] as const])),
  );
  return [...unknownDependencies(fleet, byName), ...cycles(fleet, byName)];
}

function unknownDependencies(fleet: Fleet, byName: ReadonlyMap<string, Entry>): readonly Problem[] {
  const names = [...byName.keys()];
  const check = (source: SourceDocument, path: Path, fields: SpecialistFields): readonly Problem[] =>
    (fields.dependsOn ?? []).flatMap((written, index) => {
      if (typeof written !== 'string' || byName.has(defaultName(written))) return [];
      const message = `\`dependsOn\` names \`${written}\`, which this fleet doesn't declare`;
      return [source.problem([...path, 'dependsOn', String(index)], 'value', message, suggest(written, names))];
    });
  const document = fleet.group.fleet?.source;
  return [
    ...fleet.entries.flatMap(({source, path, fields}) => check(source, path, fields)),
    ...(document ? check(document, defaultsPath, fleet.fields.defaults ?? {}) : []),
  ];
}

/** Each circle once, at the `dependsOn` of its first member in the file. */
function cycles(fleet: Fleet, byName: ReadonlyMap<string, Entry>): readonly Problem[] {
  const done = new Set<string>();
  const problems: Problem[] = [];
  for (const [start, entry] of byName) {
    const circle = circleFrom(start, name => dependencies(fleet, byName.get(name)), done);
    if (!circle) continue;
    const first = byName.get(circle[0] ?? start) ?? entry;
    const {source, path} = effective(fleet, first, 'dependsOn');
    problems.push(source.problem(path, 'value', `\`dependsOn\` goes round in a circle: ${circle.join(' → ')}`));
  }
  return problems;
}

function dependencies(fleet: Fleet, entry: Entry | undefined): readonly string[] {
  return entry ? dependenciesOf(fleet, entry) : [];
}
