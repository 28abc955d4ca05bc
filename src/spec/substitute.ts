/** A document with the values of variables in the place of `${NAME}`. */
import type {Problem} from '../api/errors.js';
import {suggest} from '../api/suggest.js';
import type {Path} from '../api/validate.js';
import type {Place, SourceDocument, Used, Written} from './document.js';
import type {Variable} from './variables.js';

export interface Substitution {
  readonly document: SourceDocument;
  readonly problems: readonly Problem[];
}

/** Fills in every text of a document but its keys, the definitions of variables and `bases`, which are read before them. */
export function substitute(document: SourceDocument, variables: ReadonlyMap<string, Variable>): Substitution {
  const filling = new Filling(document, variables);
  const value = filling.fill(document.value, []) as Readonly<Record<string, unknown>>; // what a mapping becomes
  return {document: new Substituted(document, value, filling), problems: filling.problems};
}

/** `$${` is a text, `${` begins a name, which `}` ends. */
const reference = /\$\$\{|\$\{([^}\n]*)(\}?)/g;

class Filling {
  readonly problems: Problem[] = [];
  /** By path: what was filled in there. */
  readonly used = new Map<string, Used>();
  /** Paths of values that lack one of theirs, which is told. */
  readonly open = new Set<string>();

  constructor(
    private readonly document: SourceDocument,
    private readonly variables: ReadonlyMap<string, Variable>,
  ) {}

  fill(value: unknown, path: Path): unknown {
    if (typeof value === 'string') return value.includes('${') ? this.text(value, path) : value;
    if (Array.isArray(value)) return value.map((item, index) => this.fill(item, [...path, String(index)]));
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, field]) => {
        const at = [...path, key];
        return [key, isLiteral(at) ? field : this.fill(field, at)];
      }),
    );
  }

  private text(text: string, path: Path): unknown {
    const names: string[] = [];
    const filled = text.replace(reference, (found, name: string | undefined, end: string) => {
      if (name === undefined) return '${';
      const variable = end === '}' ? this.variables.get(name) : undefined;
      if (!variable) this.tell(path, name, end);
      if (variable?.value === undefined) this.open.add(keyOf(path));
      else names.push(name);
      return variable?.value ?? found;
    });
    if (names.length === 0) return filled;
    const all = [...new Set(names)].map(name => ({name, from: this.variables.get(name)?.from ?? 'default'}));
    this.used.set(keyOf(path), all);
    const isWhole = /^\$\{[^}]*\}$/.test(text);
    return isWhole && this.document.isPlain(path) ? scalarOf(filled) : filled;
  }

  private tell(path: Path, name: string, end: string): void {
    const known = [...this.variables.keys()];
    const literal = 'write `$${` where the text `${` is meant';
    const [message, hint] =
      end === ''
        ? ['`${` begins a variable that no `}` ends', literal]
        : [
            `no variable \`${name}\` is declared`,
            suggest(name, known) ?? `declared are ${known.join(', ')}; ${literal}`,
          ];
    this.problems.push(this.document.problem(path, 'value', message, hint));
  }
}

function isLiteral([spec, field]: Path): boolean {
  return spec === 'spec' && (field === 'variables' || field === 'bases');
}

const core = {
  null: /^(?:~|null|Null|NULL)$/,
  true: /^(?:true|True|TRUE)$/,
  false: /^(?:false|False|FALSE)$/,
  integer: /^[-+]?\d+$|^0o[0-7]+$|^0x[\dA-Fa-f]+$/,
  float: /^[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$/,
};

/** As the core schema of YAML 1.2 takes a scalar without quotes (§10.3.2); infinities and NaN, which no field takes, stay text. */
function scalarOf(text: string): string | number | boolean | null {
  if (core.null.test(text)) return null;
  if (core.true.test(text)) return true;
  if (core.false.test(text)) return false;
  return core.integer.test(text) || core.float.test(text) ? Number(text) : text;
}

class Substituted implements SourceDocument {
  readonly file: string;
  readonly path: string | undefined;

  constructor(
    private readonly under: SourceDocument,
    readonly value: Readonly<Record<string, unknown>>,
    private readonly filling: Filling,
  ) {
    this.file = under.file;
    this.path = under.path;
  }

  place(path: Path, at?: 'key' | 'value'): Place {
    return this.under.place(path, at);
  }

  written(path: Path): Written {
    return {document: this, path, by: 'own'};
  }

  has(path: Path): boolean {
    return this.under.has(path);
  }

  isPlain(path: Path): boolean {
    return this.under.isPlain(path);
  }

  usedAt(path: Path): Used | undefined {
    return this.filling.used.get(keyOf(path));
  }

  isOpen(path: Path): boolean {
    return this.filling.open.has(keyOf(path));
  }

  problem(path: Path, at: 'key' | 'value', message: string, hint?: string): Problem {
    return this.under.problem(path, at, message, hint);
  }
}

function keyOf(path: Path): string {
  return path.join('\0');
}
