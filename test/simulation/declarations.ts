/** What the simulated operator writes into fleet files, and what the loader makes of it. */
import {genericExpertise, specialistDefaults} from '../../src/api/defaults.js';
import {flatten, hashOf} from '../../src/api/hash.js';
import type {Desired, LoadedFleet, NamedProvider, RestartPolicy, SpecialistSpec} from '../../src/api/types.js';
import type {FleetKey} from '../../src/reconciler/ports.js';

/** What an operator says of one specialist. */
export interface Says {
  readonly name: string;
  readonly model: string;
  readonly provider: keyof typeof providers;
  /** A value of its environment: a change needs another process. */
  readonly env?: string;
  /** A variable of its environment comes from a secret. */
  readonly secret?: true;
  readonly port?: number;
  readonly dependsOn?: readonly string[];
  readonly enabled?: false;
  readonly restartPolicy?: RestartPolicy;
  readonly grace?: number;
}

/** What stands in a fleet's file. */
export type Content =
  {readonly type: 'valid'; readonly says: readonly Says[]} | {readonly type: 'typo'} | {readonly type: 'missing'};

export const providers = {
  ollama: {name: 'ollama', type: 'ollama', baseUrl: 'http://127.0.0.1:11434'},
  hosted: {name: 'hosted', type: 'anthropic', apiKey: {env: 'HOSTED_KEY'}},
  auto: {name: 'auto', type: 'auto'},
  offline: {name: 'offline', type: 'offline'},
} as const satisfies Record<string, NamedProvider>;

export const ports = {from: 45_000, to: 45_011};

const cache = new Map<string, Desired>();

export function desired(says: Says, {namespace, fleet}: FleetKey): Desired {
  const key = JSON.stringify([says, namespace, fleet]);
  const known = cache.get(key);
  if (known) return known;
  const {name, model, provider, env, secret, port, dependsOn = [], enabled = true, restartPolicy, grace} = says;
  const said = {
    ...{component: name, model, provider},
    ...((env !== undefined || secret) && {
      env: {...(env !== undefined && {MODE: env}), ...(secret && {TOKEN: {env: 'WORKER_TOKEN'}})},
    }),
    ...(port !== undefined && {port}),
    ...(dependsOn.length > 0 && {dependsOn}),
    ...(restartPolicy && {restartPolicy}),
    ...(grace !== undefined && {terminationGracePeriodSeconds: grace}),
  };
  const declared = flatten(said);
  const spec: SpecialistSpec = {
    ...specialistDefaults,
    ...said,
    expertise: genericExpertise(name),
    enabled,
    dependsOn,
    terminationGracePeriodSeconds: grace ?? 30,
  };
  const made: Desired = {
    aiId: `${name}-ai`,
    name,
    namespace,
    fleet,
    labels: {},
    spec,
    provider: providers[provider],
    generation: 0,
    declared,
    specHash: hashOf(declared),
    origins: {},
  };
  if (cache.size > 5_000) cache.clear();
  cache.set(key, made);
  return made;
}

export function loaded(says: readonly Says[], key: FleetKey): LoadedFleet {
  const path = `/fleets/${key.fleet}.yaml`;
  return {
    name: key.fleet,
    namespace: key.namespace,
    enabled: true,
    ports,
    allowMassPrune: false,
    source: {type: 'files', paths: [path]},
    files: [path],
    watch: [path],
    specialists: says.map(one => desired(one, key)),
    overrides: {},
    notices: [],
  };
}
