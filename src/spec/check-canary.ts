/** Whether a canary can be carried out: patterns and schemas that compile, names that are unique, judges that can judge. */
import type {CanaryPrompt} from '../api/types.js';
import type {SpecialistFields} from '../api/documents.js';
import {describeError} from '../api/errors.js';
import type {Problem} from '../api/errors.js';
import {defaultName} from '../api/names.js';
import {suggest} from '../api/suggest.js';
import type {Path} from '../api/validate.js';
import {circleFrom} from './circles.js';
import type {SourceDocument} from './document.js';
import {defaultsPath, effective} from './fleet.js';
import type {Entry, Fleet} from './fleet.js';

/** A prompt as somebody wrote it, and where. */
interface Written {
  readonly prompt: CanaryPrompt;
  readonly source: SourceDocument;
  readonly path: Path;
}

export function checkCanaries(fleet: Fleet): readonly Problem[] {
  const names = fleet.entries.flatMap(({name}) => name ?? []);
  return [
    ...places(fleet).flatMap(({fields, source, path}) => [
      ...checkNames(fields, source, path),
      ...prompts(fields, source, path).flatMap(one => [...checkPattern(one), ...checkJudge(one, names)]),
    ]),
    ...fleet.entries.flatMap(entry => checkSelf(fleet, entry)),
    ...checkCircles(fleet),
  ];
}

/** As `checkCanaries`, of the schemas: they need ajv, which is loaded only where there is one. */
export async function checkCanarySchemas(fleet: Fleet): Promise<readonly Problem[]> {
  const all = places(fleet).flatMap(({fields, source, path}) => prompts(fields, source, path));
  const found = await Promise.all(
    all.map(async ({prompt, source, path}) => {
      if (typeof prompt.schema !== 'object') return [];
      const {compileSchema} = await import('./json-schema.js');
      const compiled = await compileSchema(prompt.schema);
      if (typeof compiled === 'function') return [];
      const hint = 'a JSON Schema of draft-07, with no references beyond itself';
      return [source.problem([...path, 'schema'], 'value', `\`schema\` can't be used: ${compiled.problem}`, hint)];
    }),
  );
  return found.flat();
}

interface Place {
  readonly fields: SpecialistFields;
  readonly source: SourceDocument;
  readonly path: Path;
}

function places(fleet: Fleet): readonly Place[] {
  const document = fleet.group.fleet?.source;
  return [
    ...(document ? [{fields: fleet.fields.defaults ?? {}, source: document, path: [...defaultsPath, 'canary']}] : []),
    ...fleet.entries.map(({fields, source, path}) => ({fields, source, path: [...path, 'canary']})),
  ];
}

function prompts({canary}: SpecialistFields, source: SourceDocument, path: Path): readonly Written[] {
  // What the schema has refused was taken out, and its problem is told already.
  return (canary?.prompts ?? []).flatMap((prompt, index) =>
    typeof prompt === 'object' ? [{prompt, source, path: [...path, 'prompts', String(index)]}] : [],
  );
}

function checkNames(fields: SpecialistFields, source: SourceDocument, path: Path): readonly Problem[] {
  const seen = new Set<string>();
  return prompts(fields, source, path).flatMap(({prompt: {name}, path: at}) => {
    if (name === undefined || !seen.has(name)) {
      if (name !== undefined) seen.add(name);
      return [];
    }
    return [source.problem([...at, 'name'], 'value', `there is a prompt \`${name}\` already`)];
  });
}

function checkPattern({prompt: {matches}, source, path}: Written): readonly Problem[] {
  if (typeof matches !== 'string') return [];
  try {
    new RegExp(matches, 'u');
    return [];
  } catch (error) {
    const message = `\`matches\` is no regular expression: ${describeError(error)}`;
    return [source.problem([...path, 'matches'], 'value', message)];
  }
}

function checkJudge({prompt: {judge}, source, path}: Written, names: readonly string[]): readonly Problem[] {
  const written = judge?.specialist;
  if (typeof written !== 'string' || names.includes(defaultName(written))) return [];
  const message = `the judge \`${written}\` is not declared by this fleet`;
  return [source.problem([...path, 'judge', 'specialist'], 'value', message, suggest(written, names))];
}

/** At the entry's own canary, or at that of the defaults, which is meant for all. */
function checkSelf(fleet: Fleet, entry: Entry): readonly Problem[] {
  const {value, source, path} = effective(fleet, entry, 'canary');
  return prompts({...(value && {canary: value})}, source, path).flatMap(({prompt: {judge}, path: at}) => {
    if (judge === undefined || entry.name === undefined || defaultName(judge.specialist) !== entry.name) return [];
    const message = `\`${entry.name}\` would judge itself`;
    const hint =
      value === entry.fields.canary
        ? 'name another specialist'
        : `give \`${entry.name}\` a \`canary\` of its own, {prompts: []} for none`;
    return [source.problem([...at, 'judge', 'specialist'], 'value', message, hint)];
  });
}

/** Two that judge each other would each wait for a judge that is itself not judged yet. */
function checkCircles(fleet: Fleet): readonly Problem[] {
  const byName = new Map(
    fleet.entries.flatMap(entry => (entry.name === undefined ? [] : [[entry.name, entry] as const])),
  );
  const judges = (name: string): readonly string[] => {
    const entry = byName.get(name);
    if (!entry) return [];
    const canary = effective(fleet, entry, 'canary').value;
    const named = (canary?.prompts ?? []).flatMap(prompt =>
      typeof prompt === 'object' && typeof prompt.judge?.specialist === 'string'
        ? [defaultName(prompt.judge.specialist)]
        : [],
    );
    return [...new Set(named)].filter(other => other !== name && byName.has(other)); // itself is told already
  };
  const done = new Set<string>();
  return [...byName].flatMap(([name, entry]) => {
    const circle = circleFrom(name, judges, done);
    if (!circle) return [];
    const {source, path} = effective(fleet, byName.get(circle[0] ?? name) ?? entry, 'canary');
    return [source.problem(path, 'value', `canaries judge each other in a circle: ${circle.join(' → ')}`)];
  });
}
