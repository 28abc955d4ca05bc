/** The variables of a fleet: what they are worth here, and where that is from. */
import {open} from 'node:fs/promises';
import {dirname, resolve} from 'node:path';
import type {Problem} from '../api/errors.js';
import {looksLikeKey, namesSecret} from '../api/mask.js';
import type {Trust} from '../api/policy.js';
import {suggest} from '../api/suggest.js';
import type {VariableOrigin} from '../api/types.js';
import type {Path} from '../api/validate.js';
import type {SourceDocument} from './document.js';
import type {Variables as Environment} from './environment.js';
import {variablePrefix} from './environment.js';
import {OutsideError} from './within.js';
import type {Files} from './within.js';

export interface Variable {
  /** undefined: it has none, which is told. */
  readonly value: string | undefined;
  readonly from: VariableOrigin['variables'][number]['from'];
}

export interface FleetVariables {
  /** By name; empty where the fleet declares none, and `${…}` is plain text. */
  readonly values: ReadonlyMap<string, Variable>;
  readonly problems: readonly Problem[];
  /** Absolute: files that were read. */
  readonly files: readonly string[];
  /** Absolute: files that may hold a value, whether they are there or not. */
  readonly watch: readonly string[];
  /** Values of the environment, by the variable that they are recorded as with the fleet. */
  readonly recorded: Readonly<Record<string, string>>;
}

export interface VariableOptions {
  readonly environment: Environment;
  /** Of `--var`, by name: before all else. */
  readonly given: Readonly<Record<string, string>>;
  readonly trust: Trust | undefined;
  readonly disk: Files;
  readonly cwd: string;
}

/** A field of a definition, and who said it last. */
interface Said {
  readonly value: unknown;
  readonly document: SourceDocument;
  readonly path: Path;
}

interface Definition {
  readonly name: string;
  /** Where its name stands, in the uppermost document that says anything of it. */
  readonly at: Said;
  readonly fields: ReadonlyMap<string, Said>;
}

/** A value is a word or a line; more is a document, and has no place in a field. */
const maxFileBytes = 64 * 1024;

/** @param documents the layers of the fleet, the lowest first, as they were written */
export async function variablesOf(
  documents: readonly SourceDocument[],
  options: VariableOptions,
): Promise<FleetVariables> {
  const values = new Map<string, Variable>();
  const problems: Problem[] = [];
  const [files, watch]: [string[], string[]] = [[], []];
  const recorded: [string, string][] = [];
  for (const definition of definitionsOf(documents).values()) {
    const {name, at} = definition;
    const found = await new Lookup(definition, options).find();
    files.push(...found.files);
    watch.push(...found.watch);
    const problem =
      found.problem ?? (found.value === undefined ? missing(definition) : refusal(definition, found.value));
    if (problem) problems.push(problem);
    if (namesSecret(name)) {
      const message = `a variable may hold no secret, and \`${name}\` seems to: secrets are only ever referred to`;
      problems.push(at.document.problem(at.path, 'key', message, secretHint));
    }
    const env = definition.fields.get('env');
    if (typeof env?.value === 'string' && namesSecret(env.value)) {
      const message = `a variable may hold no secret, and \`${env.value}\` seems to: secrets are only ever referred to`;
      problems.push(env.document.problem(env.path, 'value', message, secretHint));
    }
    values.set(name, {value: problem ? undefined : found.value, from: found.from});
    if (!problem && found.variable !== undefined && found.value !== undefined) {
      recorded.push([found.variable, found.value]);
    }
  }
  const known = options.trust ? [] : undeclared(options.environment);
  return {values, problems, files, watch, recorded: Object.fromEntries([...known, ...recorded])};
}

/** What the fleet may declare with its next edit, which is loaded where the environment is another. */
function undeclared(environment: Environment): readonly (readonly [string, string])[] {
  return Object.entries(environment).flatMap(([variable, value = '']) => {
    const isOne = variable.startsWith(variablePrefix) && value !== '' && !namesSecret(variable) && !looksLikeKey(value);
    return isOne ? [[variable, value] as const] : [];
  });
}

const secretHint = 'refer to it where it is used: {env: NAME} or {file: path}';

/** Merged by name and field, `null` taking away what is under it. What the schema refuses is left out: it tells. */
function definitionsOf(documents: readonly SourceDocument[]): ReadonlyMap<string, Definition> {
  const all = new Map<string, Definition>();
  for (const document of documents) {
    const spec = document.value['spec'];
    const declared = isMapping(spec) ? spec['variables'] : undefined;
    if (declared === null) all.clear();
    if (!isMapping(declared)) continue;
    for (const [name, definition] of Object.entries(declared)) {
      const path = ['spec', 'variables', name];
      if (definition === null) all.delete(name);
      if (!isMapping(definition)) continue;
      const fields = new Map(all.get(name)?.fields);
      for (const [key, value] of Object.entries(definition)) {
        if (value === null) fields.delete(key);
        else fields.set(key, {value, document, path: [...path, key]});
      }
      all.set(name, {name, at: {value: definition, document, path}, fields});
    }
  }
  return all;
}

interface Found extends Variable {
  /** Of the environment: where it was, and is looked for again. */
  readonly variable?: string;
  readonly problem?: Problem;
  readonly files: readonly string[];
  readonly watch: readonly string[];
}

/** Looks for the value of one variable: given, in the environment, in its file, its default. */
class Lookup {
  private readonly files: string[] = [];
  private readonly watch: string[] = [];

  constructor(
    private readonly definition: Definition,
    private readonly options: VariableOptions,
  ) {}

  async find(): Promise<Found> {
    const {files, watch} = this;
    const said = this.fromEnvironment();
    // Looked at in any case: it counts as soon as the environment says nothing any more.
    const file = await this.fromFile();
    if (said) return {...said, from: 'environment', files, watch};
    if (file?.problem) return {value: undefined, from: 'file', problem: file.problem, files, watch};
    if (file?.value !== undefined) return {value: file.value, from: 'file', files, watch};
    const written = this.definition.fields.get('default')?.value;
    return {value: isScalar(written) ? String(written) : undefined, from: 'default', files, watch};
  }

  /** A repository chooses the names, so each of the two has to be one that the operator lets it read. */
  private fromEnvironment(): {readonly value: string; readonly variable: string} | undefined {
    const {environment, given, trust} = this.options;
    const {name, fields} = this.definition;
    const usual = `${variablePrefix}${name}`;
    const own = fields.get('env')?.value;
    const said = given[name];
    if (Object.hasOwn(given, name) && said !== undefined) return {value: said, variable: usual};
    for (const variable of [usual, ...(typeof own === 'string' ? [own] : [])]) {
      const value = environment[variable];
      if (value && !namesSecret(variable) && (trust?.mayRead(variable) ?? true)) return {value, variable};
    }
    return undefined;
  }

  private async fromFile(): Promise<{readonly value?: string; readonly problem?: Problem} | undefined> {
    const said = this.definition.fields.get('file');
    if (typeof said?.value !== 'string') return undefined;
    const {document, path, value: file} = said;
    const {disk, cwd} = this.options;
    const target = resolve(document.path === undefined ? cwd : dirname(document.path), file);
    const problem = (message: string, hint?: string) => ({
      problem: document.problem(path, 'value', `cannot read \`${file}\`: ${message}`, hint),
    });
    this.watch.push(target);
    try {
      const text = await readShort(await disk.locate(target));
      this.files.push(target);
      if (text === undefined) return problem('it is no file of at most 64 KiB', 'a value is a word or a line');
      if (text.includes('\0')) return problem('it is a binary file');
      return {value: text.trim()};
    } catch (error) {
      if (error instanceof OutsideError) return problem(error.message);
      const {code} = error as NodeJS.ErrnoException; // every error of node:fs has one
      return code === 'ENOENT' || code === 'ENOTDIR' ? undefined : problem(code ?? 'unknown error');
    }
  }
}

/** undefined: it is too large, or no file. */
async function readShort(path: string): Promise<string | undefined> {
  const handle = await open(path, 'r');
  try {
    const found = await handle.stat();
    if (!found.isFile() || found.size > maxFileBytes) return undefined;
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

function missing({name, at, fields}: Definition): Problem {
  const ways = [`--var ${name}=…`, `the environment variable ${variablePrefix}${name}`];
  const env = fields.get('env')?.value;
  if (typeof env === 'string') ways.push(`the environment variable ${env}`);
  const file = fields.get('file')?.value;
  if (typeof file === 'string') ways.push(`the file ${file}`);
  const hint = `set it with ${ways.join(', ')}, or give it a \`default\``;
  return at.document.problem(at.path, 'key', `the variable \`${name}\` has no value`, hint);
}

function refusal({name, at, fields}: Definition, value: string): Problem | undefined {
  if (looksLikeKey(value)) {
    const message = `the value of the variable \`${name}\` is a secret: secrets are only ever referred to`;
    return at.document.problem(at.path, 'key', message, secretHint);
  }
  const allowed = fields.get('enum')?.value;
  if (!Array.isArray(allowed)) return undefined;
  const texts = allowed.filter(isScalar).map(String);
  if (texts.includes(value)) return undefined;
  const message = `the variable \`${name}\` is \`${shown(value)}\`, and must be one of ${texts.join(', ')}`;
  return at.document.problem(at.path, 'key', message, suggest(value, texts));
}

function shown(value: string): string {
  return value.length <= 60 ? value : `${value.slice(0, 59)}…`;
}

function isScalar(value: unknown): value is string | number | boolean {
  return ['string', 'number', 'boolean'].includes(typeof value);
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
