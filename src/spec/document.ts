/** YAML to plain values that know where they stand. Everything that a hostile file can do is refused here. */
import {isAlias, isMap, isPair, isScalar, isSeq, LineCounter, parseAllDocuments} from 'yaml';
import type {Alias, Node, Pair, YAMLMap} from 'yaml';
import type {Problem} from '../api/errors.js';
import {maskKeys} from '../api/mask.js';
import type {Origin} from '../api/types.js';
import type {Path} from '../api/validate.js';
import {kindOf} from '../api/validate.js';
import {maxDepth, tooDeepAt} from './depth.js';
import {Excerpts} from './excerpt.js';
import type {SourceText} from './source.js';

/** Lines and columns count from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** A path in the document that a person wrote. */
export interface Written {
  readonly document: SourceDocument;
  readonly path: Path;
  /** By the fleet's own documents, by a base, or by a patch of either. */
  readonly by: 'own' | 'base' | 'patch';
}

/** The variables that a value was made with. */
export type Used = Extract<Origin, {type: 'variable'}>['variables'];

/** One document of a file. */
export interface SourceDocument {
  readonly file: string;
  /** Absolute path of the file; undefined for standard input. */
  readonly path: string | undefined;
  readonly value: Readonly<Record<string, unknown>>;
  /** Where a value, or the key that it stands under, begins; of what is not there, where its parent begins. */
  place(path: Path, at?: 'key' | 'value'): Place;
  /** Where it was really written: in another document where this one lies over others. */
  written(path: Path): Written;
  has(path: Path): boolean;
  /** A scalar without quotes. */
  isPlain(path: Path): boolean;
  /** Variables whose values are in the text there. */
  usedAt?(path: Path): Used | undefined;
  /** A variable of the text there has no value, which is told. */
  isOpen?(path: Path): boolean;
  problem(path: Path, at: 'key' | 'value', message: string, hint?: string): Problem;
}

export interface Parsed {
  readonly documents: readonly SourceDocument[];
  readonly problems: readonly Problem[];
}

/** A file of garbage has an error in every line; nobody reads more than these. */
const maxProblems = 100;

const maxAliasedValues = 10_000;

/**
 * All documents of a text. One that isn't sound YAML is left out and its problems are told; a document of a key
 * written twice is both told and kept (with the first value), so that its other problems are found as well.
 */
export function parse(source: SourceText): Parsed {
  const counter = new LineCounter();
  const excerpts = new Excerpts(source.text);
  const problemAt = (offset: number, message: string, hint?: string): Problem => {
    const {line, col} = counter.linePos(offset);
    const place = {file: source.file, line: Math.max(line, 1), column: Math.max(col, 1)};
    const excerpt = excerpts.at(place);
    return {...place, message: maskKeys(message), ...(hint && {hint}), ...(excerpt !== undefined && {excerpt})};
  };
  const tooDeep = tooDeepAt(source.text);
  if (tooDeep !== undefined) {
    countLines(source.text, counter);
    return {documents: [], problems: [problemAt(tooDeep, `this is nested deeper than ${maxDepth} levels`)]};
  }

  const problems: Problem[] = [];
  const documents: SourceDocument[] = [];
  // Keys are compared by `Values`: yaml compares each with each, which takes minutes for a hostile file.
  const options = {uniqueKeys: false, prettyErrors: false, resolveKnownTags: false, logLevel: 'silent'} as const;
  for (const document of parseAllDocuments(source.text, {...options, lineCounter: counter})) {
    const contents = document.contents;
    const faults = [...document.errors, ...document.warnings];
    if (faults.length > 0) {
      problems.push(
        ...faults
          .slice(0, maxProblems)
          .map(({pos: [at], code, message}) => problemAt(at, explain(code, message), quoteHint(source.text, at))),
      );
      continue;
    }
    if (contents === null || (isScalar(contents) && contents.value === null)) continue;
    excerpts.hideSecretsOf(contents);
    const values = new Values();
    const value = values.of(contents, 0);
    problems.push(...values.faults.slice(0, maxProblems).map(({node, message}) => problemAt(offsetOf(node), message)));
    if (!isMap(contents)) {
      const hint = 'it begins with `apiVersion: tekton.ai/v1alpha1`';
      problems.push(problemAt(offsetOf(contents), `a document must be a mapping, not ${kindOf(value)}`, hint));
      continue;
    }
    if (!values.complete) continue;
    documents.push(
      new Positioned(source, values.targets, contents, value as Record<string, unknown>, counter, problemAt),
    );
  }
  if (documents.length === 0 && problems.length === 0) {
    problems.push(problemAt(0, 'the file declares nothing', 'it begins with `apiVersion: tekton.ai/v1alpha1`'));
  }
  return {documents, problems};
}

/** What the parser does while it reads. */
function countLines(text: string, counter: LineCounter): void {
  counter.addNewLine(0);
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) counter.addNewLine(at + 1);
}

class Positioned implements SourceDocument {
  readonly file: string;
  readonly path: string | undefined;
  private readonly pairs = new WeakMap<YAMLMap, ReadonlyMap<string | undefined, Pair>>();

  constructor(
    source: SourceText,
    private readonly targets: ReadonlyMap<Node | null, Node>,
    private readonly top: YAMLMap,
    readonly value: Readonly<Record<string, unknown>>,
    private readonly counter: LineCounter,
    private readonly problemAt: (offset: number, message: string, hint?: string) => Problem,
  ) {
    this.file = source.file;
    this.path = source.path;
  }

  place(path: Path, at: 'key' | 'value' = 'value'): Place {
    const {line, col} = this.counter.linePos(this.offset(path, at));
    return {line, column: col};
  }

  written(path: Path): Written {
    return {document: this, path, by: 'own'};
  }

  has(path: Path): boolean {
    return this.find(path).length === path.length;
  }

  isPlain(path: Path): boolean {
    const found = this.find(path);
    const last = found.at(-1)?.value ?? null;
    const target = this.targets.get(last) ?? last;
    return found.length === path.length && isScalar(target) && target.type === 'PLAIN';
  }

  problem(path: Path, at: 'key' | 'value', message: string, hint?: string): Problem {
    return this.problemAt(this.offset(path, at), message, hint);
  }

  private offset(path: Path, at: 'key' | 'value'): number {
    const found = this.find(path);
    const last = found.at(-1);
    if (last === undefined) return offsetOf(this.top);
    // An empty value (`model:`) has no place of its own that means anything.
    const key = last.key && (at === 'key' || isEmpty(last.value)) && found.length === path.length;
    return offsetOf(key ? last.key : last.value) ?? 0;
  }

  /** As many steps of the path as exist. */
  private find(path: Path): readonly {key?: Node; value: Node | null}[] {
    const steps: {key?: Node; value: Node | null}[] = [];
    let node: Node | null = this.top;
    for (const segment of path) {
      const target: Node | null = this.targets.get(node) ?? node;
      if (isMap(target)) {
        const pair = this.pairOf(target, segment);
        if (pair === undefined) return steps;
        node = pair.value as Node | null; // what a parsed pair holds
        steps.push({key: pair.key as Node, value: node});
      } else if (isSeq(target)) {
        const item = target.items[Number(segment)];
        if (item === undefined) return steps;
        node = item as Node; // what a parsed list holds
        steps.push({value: node});
      } else {
        return steps;
      }
    }
    return steps;
  }

  /** The first of its key, looked up once for all: a hostile mapping has very many. */
  private pairOf(map: YAMLMap, key: string): Pair | undefined {
    let pairs = this.pairs.get(map);
    if (!pairs) {
      const keyed = map.items.map(item => [keyText(item), item] as const);
      pairs = new Map(keyed.reverse());
      this.pairs.set(map, pairs);
    }
    return pairs.get(key);
  }
}

/** Plain values of nodes, and what must not be in them. */
class Values {
  readonly faults: {node: Node | null | undefined; message: string}[] = [];
  /** false: a limit was hit or an anchor is unknown, and what was made is not the whole. */
  complete = true;
  /** What each alias stands for. (yaml's own `resolve` walks the whole document for each.) */
  readonly targets = new Map<Node | null, Node>();
  private readonly anchors = new Map<string, Node>();
  private aliased = 0;
  private insideAlias = 0;

  of(node: Node | null, depth: number): unknown {
    if (!this.complete) return null;
    if (depth > maxDepth) return this.give(node, `this is nested deeper than ${maxDepth} levels`);
    if (this.insideAlias > 0 && ++this.aliased > maxAliasedValues) {
      return this.give(node, `aliases expand to more than ${maxAliasedValues} values`);
    }
    if (isAlias(node)) return this.ofAlias(node, depth);
    if (node?.anchor !== undefined && this.insideAlias === 0) this.anchors.set(node.anchor, node);
    if (isMap(node)) return this.ofMap(node, depth);
    if (isSeq(node)) return node.items.map(item => this.of(item as Node, depth + 1)); // what a parsed list holds
    return isScalar(node) ? node.value : null;
  }

  private ofAlias(alias: Alias, depth: number): unknown {
    const target = this.anchors.get(alias.source);
    if (target === undefined) return this.give(alias, `the anchor \`${alias.source}\` is not defined before its use`);
    this.targets.set(alias, target);
    this.insideAlias++;
    const value = this.of(target, depth + 1);
    this.insideAlias--;
    return value;
  }

  private ofMap(map: YAMLMap, depth: number): Record<string, unknown> {
    const fields: Record<string, unknown> = {};
    for (const pair of map.items) {
      const key = keyText(pair);
      const node = pair.key as Node | null; // what a parsed pair holds
      if (key === undefined) this.fault(node, 'a key must be text');
      else if (key === '__proto__' || key === 'constructor' || key === 'prototype') {
        this.fault(node, `the key \`${key}\` is not allowed`);
      } else if (Object.hasOwn(fields, key)) this.fault(node, `the key \`${key}\` is written twice`);
      else fields[key] = this.of(pair.value as Node | null, depth + 1);
    }
    return fields;
  }

  private fault(node: Node | null | undefined, message: string): null {
    if (this.insideAlias === 0 || this.faults.length < maxProblems) this.faults.push({node, message});
    return null;
  }

  private give(node: Node | null, message: string): null {
    this.complete = false;
    return this.fault(node, message);
  }
}

function keyText(pair: Pair): string | undefined {
  if (!isPair(pair) || !isScalar(pair.key)) return undefined;
  const {value, source} = pair.key;
  return typeof value === 'string' ? value : (source ?? String(value));
}

function offsetOf(node: Node | null | undefined): number {
  return node?.range?.[0] ?? 0;
}

function isEmpty(node: Node | null): boolean {
  return node === null || (isScalar(node) && node.value === null && (node.source ?? '') === '');
}

/** `{a: ${X}}` is no YAML: a brace within braces begins a mapping. */
function quoteHint(text: string, offset: number): string | undefined {
  const from = text.lastIndexOf('\n', offset - 1) + 1;
  const to = text.indexOf('\n', offset);
  const name = /\$\{([A-Za-z_]\w*)\}/.exec(text.slice(from, to === -1 ? undefined : to))?.[1];
  if (name === undefined) return undefined;
  return `within {…} and […] a variable stands in quotes, and is text then: "\${${name}}"; others go on lines of their own`;
}

/** yaml's messages are for people who know its terms; these are the ones that operators meet. */
function explain(code: string, message: string): string {
  switch (code) {
    case 'TAB_AS_INDENT':
      return 'tabs cannot indent YAML: use spaces';
    case 'BAD_INDENT':
      return 'the indentation does not fit the lines above';
    case 'RESOURCE_EXHAUSTION':
      return 'this is nested too deeply to be read';
    case 'TAG_RESOLVE_FAILED':
      return 'tags (`!…`) are not supported';
    default:
      return `not valid YAML: ${message}`;
  }
}
