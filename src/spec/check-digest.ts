/** Whether a model that is pinned to a digest can be: only Ollama tells what the content of a model is. */
import {defaultProvider} from '../api/defaults.js';
import type {Problem} from '../api/errors.js';
import {digestFault, splitDigest} from '../api/model-name.js';
import type {Path} from '../api/validate.js';
import type {SourceDocument} from './document.js';
import {defaultsPath} from './fleet.js';
import type {Fleet} from './fleet.js';
import type {KnownProvider} from './providers.js';

/** A model as somebody wrote it, with the provider that it is meant for. */
interface Written {
  readonly model: string | undefined;
  readonly provider: string;
  readonly tell: (message: string, hint: string) => Problem;
}

/** Every model of the fleet where it is written: of providers, defaults, specialists, fallbacks and overrides. */
export function checkDigests(fleet: Fleet, providers: ReadonlyMap<string, KnownProvider>): readonly Problem[] {
  return written(fleet).flatMap(({model, provider, tell}) => {
    if (model === undefined) return [];
    const fault = digestFault(model);
    if (fault !== undefined) return [tell('the digest of this model is none', fault)];
    const type = providers.get(provider)?.spec.type;
    if (splitDigest(model).digest === undefined || type === undefined || type === 'ollama' || type === 'auto') {
      return [];
    }
    const message = `provider \`${provider}\` is of type ${type}, which can't tell the digest of a model`;
    return [tell(message, 'leave `@sha256:…` out: only models of Ollama can be pinned')];
  });
}

function written(fleet: Fleet): readonly Written[] {
  const {defaults = {}, providers = {}} = fleet.fields;
  const document = fleet.group.fleet?.source;
  const inherited = defaults.provider ?? defaultProvider;
  const ofFleet = document
    ? [
        ...Object.entries(providers).map(([name, provider]) => ({
          model: provider?.defaultModel,
          provider: name,
          tell: at(document, ['spec', 'providers', name, 'defaultModel']),
        })),
        {model: defaults.model, provider: inherited, tell: at(document, [...defaultsPath, 'model'])},
        ...fallbacks(document, defaultsPath, defaults.fallback),
      ]
    : [];
  const ofEntries = fleet.entries.flatMap(({source, path, fields}) => [
    {model: fields.model, provider: fields.provider ?? inherited, tell: at(source, [...path, 'model'])},
    ...fallbacks(source, path, fields.fallback),
    ...overridden(fleet, fields.component, fleet.overrides.provider?.value ?? fields.provider ?? inherited),
  ]);
  return [...ofFleet, ...ofEntries];
}

type Fallbacks = readonly {readonly provider: string; readonly model?: string}[];

function fallbacks(source: SourceDocument, path: Path, choices: Fallbacks = []): readonly Written[] {
  return choices.map(({model, provider}, index) => ({
    model,
    provider,
    tell: at(source, [...path, 'fallback', String(index), 'model']),
  }));
}

function overridden({overrides}: Fleet, component: string | undefined, provider: string): readonly Written[] {
  const override = component === undefined ? undefined : overrides.modelOf(component);
  if (override === undefined) return [];
  return [
    {
      model: override.value,
      provider,
      tell: (message, hint) => ({
        ...overrides.placeOf(override),
        message: `${override.origin.variable}: ${message}`,
        hint,
      }),
    },
  ];
}

function at(source: SourceDocument, path: Path): Written['tell'] {
  return (message, hint) => source.problem(path, 'value', message, hint);
}
