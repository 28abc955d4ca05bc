/** `provider: auto`: the best that answers here and now, and in plain words why it is that one. */
import type {ModelChoice, ResolvedProvider} from '../api/types.js';
import type {InstalledModel} from './ollama-models.js';
import {ProviderError} from './provider.js';

export interface AutoOptions {
  readonly ollama: ResolvedProvider;
  /** With `apiKey` where the key is set. */
  readonly anthropic: ResolvedProvider;
  /** Asked for where Anthropic is chosen and the wanted model isn't one of its own. */
  readonly anthropicModel: string;
  /** What Ollama has. Default: asks it, for two seconds at most. */
  readonly listInstalled?: (ollama: ResolvedProvider, signal: AbortSignal) => Promise<readonly InstalledModel[]>;
}

export interface AutoWish {
  readonly wantedModel: string;
  /** Somebody asked for this model; otherwise it is the built-in default, and missing it is not worth a word. */
  readonly modelDeclared: boolean;
}

export interface AutoChoice {
  readonly provider: ResolvedProvider;
  readonly model: string;
  readonly choice: ModelChoice;
}

export interface AutoChooser {
  /** Takes two seconds at most, aborted or not. @throws only the signal's reason. */
  choose(wish: AutoWish, signal: AbortSignal): Promise<AutoChoice>;
}

/** Bound of the whole choice: nobody waits longer for a server that may not exist. */
const listTimeoutMs = 2_000;

/** Model of the offline provider where none is declared: its answers come from the expertise. */
export const offlineModel = 'expertise';

/**
 * A chooser for one pass: Ollama is asked at most once, by the first choice, and what it said holds for all of them.
 * Make a new one for the next pass.
 */
export function createAutoChooser(options: AutoOptions): AutoChooser {
  let listing: Promise<Catalogue> | undefined;
  return {
    async choose(wish, signal) {
      signal.throwIfAborted();
      listing ??= listOllama(options);
      const catalogue = await listing;
      signal.throwIfAborted();
      return decide(options, wish, catalogue);
    },
  };
}

type Catalogue =
  | {readonly answers: true; readonly label: string; readonly models: readonly InstalledModel[]}
  | {readonly answers: false; readonly label: string; readonly why: string};

/** Bound by its own time limit only: one impatient caller must not take the list away from the others. */
async function listOllama({ollama, listInstalled}: AutoOptions): Promise<Catalogue> {
  const module = await import('./ollama-models.js');
  const {ollamaLabel} = await import('./ollama-server.js');
  const label = ollamaLabel(ollama);
  try {
    const models = await (listInstalled ?? module.listInstalled)(ollama, AbortSignal.timeout(listTimeoutMs));
    return {answers: true, label, models};
  } catch (error) {
    if (error instanceof ProviderError && error.code !== 'provider_unreachable') {
      return {answers: false, label, why: error.message};
    }
    return {answers: false, label, why: `no ${label}`};
  }
}

async function decide(options: AutoOptions, wish: AutoWish, catalogue: Catalogue): Promise<AutoChoice> {
  const {isSameModel} = await import('./ollama-models.js');
  const {label} = catalogue;
  if (catalogue.answers) {
    const usable = catalogue.models.filter(canChat);
    const wanted = usable.find(({name}) => isSameModel(name, wish.wantedModel));
    if (wanted !== undefined) return chosen(options.ollama, wish.wantedModel, `${label} has ${wish.wantedModel}`);
    const [best] = [...usable].sort(byRank);
    if (best !== undefined) {
      const why = wish.modelDeclared
        ? `${label} has no ${wish.wantedModel}; using ${best.name}, the largest installed`
        : `${label} answers; using ${best.name}, the largest installed`;
      return chosen(options.ollama, best.name, why);
    }
  }
  const noOllama = catalogue.answers ? `${label} has no model that can chat` : catalogue.why;
  if (options.anthropic.apiKey !== undefined) {
    const own = wish.modelDeclared && wish.wantedModel.startsWith('claude-');
    const model = own ? wish.wantedModel : options.anthropicModel;
    return chosen(options.anthropic, model, `${noOllama}; ${keyName(options.anthropic)} is set`);
  }
  const why = `${noOllama}, ${keyName(options.anthropic)} is not set: answering from the embedded expertise`;
  return chosen({name: 'offline', type: 'offline'}, offlineModel, why);
}

function chosen(provider: ResolvedProvider, model: string, why: string): AutoChoice {
  return {provider, model, choice: {provider: provider.type, type: provider.type, model, why}};
}

function keyName({apiKeyFrom, missingSecret}: ResolvedProvider): string {
  return apiKeyFrom ?? missingSecret ?? 'ANTHROPIC_API_KEY';
}

const embeddingNames = /embed|(^|[/-])bge|minilm|(^|[/-])(gte|e5)-|rerank/i;

/** Not models that only make vectors, nor those that Ollama passes on to a machine elsewhere. */
function canChat({name, families, remote}: InstalledModel): boolean {
  return !remote && !embeddingNames.test(name) && !families.some(family => /bert/i.test(family));
}

/** Largest first, by parameters, then by size on disk; the name settles the rest, so that a choice is stable. */
function byRank(a: InstalledModel, b: InstalledModel): number {
  return parameters(b) - parameters(a) || b.sizeBytes - a.sizeBytes || (a.name < b.name ? -1 : 1);
}

const units: Readonly<Record<string, number>> = {K: 1e3, M: 1e6, B: 1e9, T: 1e12};

/** `70.6B` as a number; 0 where the server says nothing. */
function parameters({parameterSize}: InstalledModel): number {
  const [, digits, unit] = /^([\d.]+)\s*([KMBT])?/i.exec(parameterSize) ?? [];
  return digits === undefined ? 0 : Number(digits) * (units[unit?.toUpperCase() ?? ''] ?? 1);
}
