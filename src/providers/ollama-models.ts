/** What Ollama has: the models that are installed, and how much each reads. */
import {splitDigest} from '../api/model-name.js';
import type {ModelCheck, ResolvedProvider} from '../api/types.js';
import {ask} from './http-call.js';
import {checkFromError, modelNotFound} from './http-errors.js';
import {ollamaClient, ollamaServer} from './ollama-server.js';
import {ProviderError} from './provider.js';
import {checkLimits} from './timeouts.js';

/** Asked for where neither the specialist nor the model's own Modelfile says; Ollama's smaller default cuts prompts. */
const defaultContextTokens = 8192;

/** A model that the server has, as `ollama list` shows it. */
export interface InstalledModel {
  readonly name: string;
  /** As the server writes it (`70.6B`); '' where it says nothing. */
  readonly parameterSize: string;
  readonly sizeBytes: number;
  readonly families: readonly string[];
  /** Answered by another machine; this one only passes the prompts on. */
  readonly remote: boolean;
  /** `sha256:` and 64 hexadecimal digits. */
  readonly digest?: string;
}

/**
 * What the server has, in one request.
 *
 * @throws {ProviderError} and the signal's reason.
 */
export function listInstalled(resolved: ResolvedProvider, signal: AbortSignal): Promise<readonly InstalledModel[]> {
  return ask({...ollamaServer(resolved), limits: checkLimits}, signal, async call =>
    readInstalled(await (await ollamaClient(resolved, call)).list()),
  );
}

/** Whether two names mean one model: no tag is `latest`, no registry is Ollama's own, case and digests don't matter. */
export function isSameModel(a: string, b: string): boolean {
  return fullName(a) === fullName(b);
}

export async function checkInstalled(
  resolved: ResolvedProvider,
  models: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ModelCheck>> {
  try {
    const installed = await listInstalled(resolved, signal);
    const checkOf = (model: string): ModelCheck => {
      const found = installed.find(({name}) => isSameModel(name, model));
      if (found) return compareDigest(model, found);
      return checkFromError(modelNotFound(ollamaServer(resolved).peer, splitDigest(model).name));
    };
    return new Map(models.map(model => [model, checkOf(model)]));
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    return new Map(models.map(model => [model, checkFromError(error)]));
  }
}

/** A tag may be pointed at other content at any time: who pinned a digest is told, and answered all the same. */
function compareDigest(model: string, {digest}: InstalledModel): ModelCheck {
  const {name, digest: wanted} = splitDigest(model);
  if (digest === undefined) {
    const warning = `the server does not tell the digest of ${name}, so the pinned one can't be compared`;
    return wanted === undefined ? {available: true} : {available: true, warning};
  }
  if (wanted === undefined || digest.startsWith(wanted)) return {available: true, digest};
  const warning =
    `${name} is not the pinned one any more: it is ${digest.slice(0, shownDigest)}, ` +
    `and ${wanted.slice(0, shownDigest)} was asked for; pin the new digest, or restore the old model`;
  return {available: true, digest, warning};
}

/** `sha256:` and the twelve digits that `ollama list` shows. */
const shownDigest = 'sha256:'.length + 12;

/**
 * The context of a model that nobody has declared one for: what its Modelfile asks for, else 8192 or all that it was
 * made for. Asked once per model, for `known` keeps it; 8192 where the server doesn't say, for the chat itself tells
 * what is wrong.
 *
 * @throws only the signal's reason
 */
export async function ownContextTokens(
  resolved: ResolvedProvider,
  model: string,
  known: Map<string, number>,
  signal: AbortSignal,
): Promise<number> {
  const before = known.get(model);
  if (before !== undefined) return before;
  try {
    const tokens = await ask({...ollamaServer(resolved), limits: checkLimits, model}, signal, async call =>
      readContextTokens(await (await ollamaClient(resolved, call)).show({model: splitDigest(model).name})),
    );
    known.set(model, tokens);
    return tokens;
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    return defaultContextTokens;
  }
}

function fullName(name: string): string {
  const short = splitDigest(name)
    .name.toLowerCase()
    .replace(/^(registry\.ollama\.ai\/)?(library\/)?/, '');
  return /:[^/]*$/.test(short) ? short : `${short}:latest`;
}

function readInstalled(listed: unknown): readonly InstalledModel[] {
  const {models} = record(listed);
  return (Array.isArray(models) ? models : []).flatMap((entry: unknown) => {
    const {name, size, details, digest, remote_host: remoteHost, remote_model: remoteModel} = record(entry);
    if (typeof name !== 'string') return [];
    const {parameter_size: parameterSize, families} = record(details);
    return {
      name,
      parameterSize: typeof parameterSize === 'string' ? parameterSize : '',
      sizeBytes: typeof size === 'number' ? size : 0,
      families: Array.isArray(families) ? families.filter(family => typeof family === 'string') : [],
      remote: remoteHost !== undefined || remoteModel !== undefined,
      ...(typeof digest === 'string' && digest !== '' && {digest: `sha256:${digest.replace(/^sha256:/, '')}`}),
    };
  });
}

function readContextTokens(shown: unknown): number {
  const {parameters, model_info: info} = record(shown);
  const declared = typeof parameters === 'string' ? /^num_ctx\s+(\d+)/m.exec(parameters)?.[1] : undefined;
  if (declared !== undefined) return Number(declared);
  const {'general.architecture': architecture, ...sizes} = record(info);
  const longest = sizes[`${String(architecture)}.context_length`];
  return typeof longest === 'number' ? Math.min(longest, defaultContextTokens) : defaultContextTokens;
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}; // any object may be indexed
}
