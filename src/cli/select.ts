/** Finds specialists by what people call them: a name, an ai id, or namespace/name. */
import {TektonError} from '../api/errors.js';
import {qualifiedName, type SpecialistView} from './view.js';

/** What is needed of a specialist to find it. */
export type Named = Pick<SpecialistView, 'aiId' | 'name' | 'namespace'>;

/**
 * The one specialist that `text` means.
 *
 * @throws {TektonError} (exit code 1) naming the nearest and the known ones, or those that `text` could mean.
 */
export async function selectOne<T extends Named>(views: readonly T[], text: string): Promise<T> {
  const [found, ...more] = matching(views, text);
  if (found === undefined) throw await unknownName(views, text);
  if (more.length === 0) return found;
  const names = [found, ...more].map(view => `${view.namespace}/${view.name}`).join(' or ');
  throw new TektonError(`"${text}" could be ${names}`, {hint: 'name one of them, or use -n'});
}

/** Those that any of `texts` means, in the order of `views`; all of them where there are no texts. @throws as above */
export async function selectMany<T extends Named>(
  views: readonly T[],
  texts: readonly string[],
): Promise<readonly T[]> {
  if (texts.length === 0) return views;
  const found = new Set<T>();
  for (const text of texts) found.add(await selectOne(views, text));
  return views.filter(view => found.has(view));
}

/** Whether `text` means at least one of them. */
export function isNamed(views: readonly Named[], text: string): boolean {
  return matching(views, text).length > 0;
}

function matching<T extends Named>(views: readonly T[], text: string): readonly T[] {
  const exact = views.filter(view => view.aiId === text || `${view.namespace}/${view.name}` === text);
  return exact.length > 0 ? exact : views.filter(view => view.name === text);
}

async function unknownName(views: readonly Named[], text: string): Promise<TektonError> {
  if (views.length === 0) {
    return new TektonError(`there is no specialist "${text}": none is declared`, {hint: 'tekton-ai up'});
  }
  const {suggest} = await import('../api/suggest.js');
  const names = views.map(qualifiedName).toSorted();
  const similar = suggest(text, names);
  const hint = `${similar === undefined ? '' : `${similar} `}known: ${shortList(names)}`;
  return new TektonError(`there is no specialist "${text}"`, {hint});
}

function shortList(names: readonly string[]): string {
  const most = 20;
  return names.length <= most ? names.join(', ') : `${names.slice(0, most).join(', ')} and ${names.length - most} more`;
}
