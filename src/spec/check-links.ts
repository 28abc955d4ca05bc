/** Files that a fleet of a repository refers to without including them: no link leads from them to elsewhere. */
import type {Problem} from '../api/errors.js';
import {absolutePath, defaultsPath} from './fleet.js';
import type {Fleet} from './fleet.js';
import type {SourceDocument} from './document.js';
import type {Path} from '../api/validate.js';
import {filesWithin, isIn, OutsideError} from './within.js';
import type {Within} from './within.js';

/**
 * Secrets and answers files in the repository that are links out of it. Whether a file elsewhere may be named is for
 * the policy to say; one that isn't there is found missing at launch, as ever.
 */
export async function checkLinks(fleets: readonly Fleet[], {root, as}: Within): Promise<readonly Problem[]> {
  const disk = await filesWithin({root, as}); // the policy's other folders are for includes
  const references = fleets.flatMap(fleet => referencesOf(fleet)).filter(({file}) => isIn(file, as));
  const problems = await Promise.all(
    references.map(async ({file, source, path}) =>
      disk.locate(file).then(
        () => [],
        (error: unknown) => (error instanceof OutsideError ? [source.problem(path, 'value', error.message)] : []),
      ),
    ),
  );
  return problems.flat();
}

interface Reference {
  /** Absolute. */
  readonly file: string;
  readonly source: SourceDocument;
  readonly path: Path;
}

/** Every `{file}` and `script` of a fleet's documents, used or not. */
export function referencesOf(fleet: Fleet): readonly Reference[] {
  const {group, fields, entries} = fleet;
  const document = group.fleet?.source;
  const found = [
    ...(document
      ? [
          ...filesIn(document, ['spec', 'providers'], fields.providers),
          ...filesIn(document, defaultsPath, fields.defaults),
          ...filesIn(document, ['spec', 'notifications'], fields.notifications),
        ]
      : []),
    ...entries.flatMap(({source, path, fields: own}) => filesIn(source, path, own)),
  ];
  return found.map(({file, source, path}) => ({file: absolutePath(file, source, path, group.folder), source, path}));
}

function filesIn(source: SourceDocument, path: Path, value: unknown): Reference[] {
  if (typeof value !== 'object' || value === null) return [];
  const fields: [string, unknown][] = Object.entries(value);
  return fields.flatMap(([key, field]) => {
    const here = [...path, key];
    const isReference = (key === 'file' && fields.length === 1) || (key === 'script' && path.at(-2) === 'providers');
    if (typeof field === 'string') return isReference ? [{file: field, source, path: here}] : [];
    return filesIn(source, here, field);
  });
}
