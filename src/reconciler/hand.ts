/** A configuration that keeps, of what somebody else gave a worker, the fields that are left to them. Pure. */
import {leaves, type Leaf} from '../api/hash.js';
import type {FieldChange, Json} from '../api/types.js';
import type {WorkerConfig} from '../protocol/control.js';
import {runningOf, type Running} from '../protocol/running.js';

interface Tree {
  [key: string]: Json | Tree;
}

/**
 * `config` with what the worker runs at the paths of `left`. Providers are never kept: with one goes a key, and ours is
 * not sent where a hand would have it go.
 */
export function withHand(
  config: WorkerConfig,
  running: Running | undefined,
  left: readonly Pick<FieldChange, 'path'>[],
): WorkerConfig {
  if (!running || left.length === 0) return config;
  const paths = new Set(left.map(({path}) => path));
  const ours = runningOf(config);
  const tree = structuredClone(ours) as Tree;
  for (const {keys} of leaves(ours)) if (isKept(keys, paths)) remove(tree, keys);
  for (const leaf of leaves(running)) if (isKept(leaf.keys, paths)) put(tree, leaf);
  const {model, parameters, expertise, concurrency, sessions, overflow, budget, terminationGracePeriodSeconds} = tree;
  const {overflow: _overflow, budget: _budget, ...rest} = config;
  const kept = {
    ...{model, parameters, expertise, concurrency, sessions},
    ...(overflow !== undefined && {overflow}),
    ...(budget !== undefined && Object.keys(budget as Tree).length > 0 && {budget}),
  };
  return {
    ...rest,
    ...(kept as unknown as WorkerConfig), // in its own words: what it said that it runs
    ...(typeof model === 'string' && model !== config.model && {choice: {...config.choice, model}}),
    graceMs: Number(terminationGracePeriodSeconds) * 1000,
  };
}

function isKept(keys: readonly string[], paths: ReadonlySet<string>): boolean {
  const [first] = keys;
  return first !== 'provider' && first !== 'fallback' && !keys.includes('__proto__') && paths.has(keys.join('.'));
}

function remove(tree: Tree, keys: readonly string[]): void {
  const parent = keys.slice(0, -1).reduce<Tree>((at, key) => at[key] as Tree, tree);
  Reflect.deleteProperty(parent, keys.at(-1) ?? '');
}

function put(tree: Tree, {keys, value}: Leaf): void {
  const parent = keys.slice(0, -1).reduce<Tree>((at, key) => {
    if (typeof at[key] !== 'object' || at[key] === null) at[key] = {};
    return at[key] as Tree;
  }, tree);
  parent[keys.at(-1) ?? ''] = value;
}
