/** Who is to be asked when only a role is named. */
import {exitCodes, TektonError} from '../api/errors.js';
import {suggest} from '../api/suggest.js';
import {askHealth} from './ask-health.js';
import type {CommandContext} from './context.js';
import {observe} from './observe.js';
import type {GlobalOptions} from './options.js';
import {qualifiedName, readyText, whyNotReady, type SpecialistView} from './view.js';

export interface Choice {
  readonly view: SpecialistView;
  /** For people: "least busy of 3 that are Ready: 0 chats". */
  readonly why: string;
}

/** One of those that have the role, and how well it suits. */
interface Candidate {
  readonly view: SpecialistView;
  /** The role is written as asked for, not only alike. */
  readonly exact: boolean;
  /** Chats under way and waiting; one that doesn't say comes last. */
  readonly load: number;
}

/**
 * The best of those that are Ready: with exactly this role first, then the least busy, then by name.
 *
 * @throws {TektonError} nobody has the role (invalid input), or none that has it is Ready: with each one's reason
 */
export async function bestOfRole(context: CommandContext, role: string, scope: GlobalOptions): Promise<Choice> {
  const {specialists, fleets} = await observe(context, scope);
  const having = specialists.filter(({roles}) => roles.some(one => alike(one) === alike(role)));
  if (having.length === 0) throw unknownRole(role, specialists);
  const ready = having.filter(view => readyText(view) === 'True');
  if (ready.length === 0) throw noneReady(role, having);
  const candidates = await Promise.all(
    ready.map(async (view): Promise<Candidate> => {
      const health = ready.length > 1 ? await askHealth(view, fleets, context) : undefined;
      const load = health ? (health.active ?? 0) + (health.queued ?? 0) : Number.POSITIVE_INFINITY;
      return {view, exact: view.roles.includes(role), load};
    }),
  );
  const [best] = candidates.toSorted(better);
  if (best === undefined) throw new Error('internal error: there is a candidate');
  return {view: best.view, why: whyOf(best, candidates)};
}

export function better(a: Candidate, b: Candidate): number {
  if (a.exact !== b.exact) return a.exact ? -1 : 1;
  if (a.load !== b.load) return a.load < b.load ? -1 : 1;
  const [one, other] = [qualifiedName(a.view), qualifiedName(b.view)];
  return one < other ? -1 : Number(one > other);
}

function whyOf(best: Candidate, candidates: readonly Candidate[]): string {
  const rivals = candidates.filter(({exact}) => exact === best.exact);
  if (candidates.length === 1) return 'the only one that is Ready';
  if (rivals.length === 1) return `the only one of ${candidates.length} that are Ready with exactly this role`;
  const alone = rivals.every(one => one === best || one.load > best.load);
  const chats = Number.isFinite(best.load) ? `${best.load} chats under way or waiting` : 'none says how busy it is';
  return `${alone ? 'the least busy' : 'the first by name of the least busy'} of ${rivals.length} that are Ready: ${chats}`;
}

/** `code_analysis` is meant by `Code-Analysis`, too. */
function alike(role: string): string {
  return role.toLowerCase().replaceAll(/[\s_-]+/g, '-');
}

function unknownRole(role: string, views: readonly SpecialistView[]): TektonError {
  const known = [...new Set(views.flatMap(({roles}) => roles))].toSorted();
  const similar = suggest(role, known);
  const list = known.length === 0 ? 'no specialist is declared: tekton-ai up' : `known: ${known.join(', ')}`;
  return new TektonError(`no specialist has the role "${role}"`, {
    exitCode: exitCodes.invalidInput,
    hint: similar === undefined ? list : `${similar} ${list}`,
  });
}

function noneReady(role: string, having: readonly SpecialistView[]): TektonError {
  const reasons = having.map(view => {
    const why = whyNotReady(view);
    return `${qualifiedName(view)}: ${why === undefined ? 'not known' : `${why.reason}: ${why.message}`}`;
  });
  return new TektonError(`no specialist with the role "${role}" is Ready: ${reasons.join('; ')}`, {
    exitCode: exitCodes.notReady,
    hint: 'tekton-ai status',
  });
}
