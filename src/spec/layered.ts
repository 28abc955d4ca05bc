/** Documents that lie over one another, as one: each value still knows the document and the place that it was written in. */
import type {Problem} from '../api/errors.js';
import type {Path} from '../api/validate.js';
import type {Place, SourceDocument, Written} from './document.js';

/** A value made of one document's alone, or of several documents' parts. */
export type Tree = Leaf | Branch;

/** All of it was written in one place. */
export interface Leaf {
  readonly type: 'leaf';
  readonly at: Written;
  readonly value: unknown;
}

export interface Branch {
  readonly type: 'branch';
  readonly kind: 'mapping' | 'list';
  /** Who is meant where the whole is: the first that wrote it. */
  readonly at: Written;
  /** Of a list the keys are positions, in their order. */
  readonly fields: ReadonlyMap<string, Tree>;
}

/** Plain value of a tree. */
export function valueOf(tree: Tree): unknown {
  if (tree.type === 'leaf') return tree.value;
  const fields = [...tree.fields].map(([key, field]) => [key, valueOf(field)] as const);
  return tree.kind === 'list' ? fields.map(([, field]) => field) : Object.fromEntries(fields);
}

/** The part of a tree under a key; undefined where there is none. */
export function partOf(tree: Tree, key: string): Tree | undefined {
  if (tree.type === 'branch') return tree.fields.get(key);
  const {value, at} = tree;
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
  return leaf({...at, path: [...at.path, key]}, (value as Readonly<Record<string, unknown>>)[key]);
}

export function leaf(at: Written, value: unknown): Leaf {
  return {type: 'leaf', at, value};
}

/** The parts of a mapping by key. */
export function partsOf(tree: Tree): ReadonlyMap<string, Tree> {
  if (tree.type === 'branch') return tree.fields;
  const {value} = tree;
  if (typeof value !== 'object' || value === null) return new Map();
  return new Map(Object.keys(value).flatMap(key => pairOf(key, partOf(tree, key))));
}

function pairOf(key: string, part: Tree | undefined): readonly (readonly [string, Tree])[] {
  return part ? [[key, part]] : [];
}

/** A document whose parts are others'. It is named like the one on top. */
export class Layered implements SourceDocument {
  readonly file: string;
  readonly path: string | undefined;
  readonly value: Readonly<Record<string, unknown>>;

  constructor(
    top: SourceDocument,
    private readonly tree: Branch,
  ) {
    this.file = top.file;
    this.path = top.path;
    this.value = valueOf(tree) as Record<string, unknown>; // the top of a document is a mapping
  }

  written(path: Path): Written {
    return this.find(path).at;
  }

  place(path: Path, at?: 'key' | 'value'): Place {
    const {document, path: within} = this.written(path);
    return document.place(within, at);
  }

  has(path: Path): boolean {
    const {at, isWhole} = this.find(path);
    return isWhole && at.document.has(at.path);
  }

  isPlain(path: Path): boolean {
    const {at, isWhole} = this.find(path);
    return isWhole && at.document.isPlain(at.path);
  }

  isOpen(path: Path): boolean {
    const {at, isWhole} = this.find(path);
    return isWhole && at.document.isOpen?.(at.path) === true;
  }

  problem(path: Path, at: 'key' | 'value', message: string, hint?: string): Problem {
    const {document, path: within} = this.written(path);
    return document.problem(within, at, message, hint);
  }

  /** `isWhole`: nothing of the path is missing as far as the layers tell; within one document it may still be. */
  private find(path: Path): {readonly at: Written; readonly isWhole: boolean} {
    let tree: Tree = this.tree;
    for (const [index, key] of path.entries()) {
      if (tree.type === 'leaf') {
        return {at: {...tree.at, path: [...tree.at.path, ...path.slice(index)]}, isWhole: true};
      }
      const next = tree.fields.get(key);
      if (!next) return {at: tree.at, isWhole: false};
      tree = next;
    }
    return {at: tree.at, isWhole: true};
  }
}
