/** The line that a problem is on, fit to be printed: without secrets and control characters, column for column. */
import {isMap, isScalar, visit} from 'yaml';
import type {Node} from 'yaml';
import {maskLine, namesSecret} from '../api/mask.js';
import type {Place} from './document.js';

/** A longer line is cut; a caret beyond it would point at nothing. */
const maxColumns = 160;

export class Excerpts {
  private readonly contents: Node[] = [];
  /** Made when the first excerpt is asked for: a file without problems never pays for it. */
  private made: {lines: readonly Line[]; hidden: readonly Range[]} | undefined;

  constructor(private readonly text: string) {}

  /** Also hides values that stand under `apiKey`, `token` and the like on other lines than their key. */
  hideSecretsOf(contents: Node): void {
    this.contents.push(contents);
    this.made = undefined;
  }

  /** undefined where there is nothing to see, or too far to the right. */
  at({line, column}: Place): string | undefined {
    this.made ??= {lines: linesOf(this.text), hidden: this.contents.flatMap(secretsIn)};
    const found = this.made.lines[line - 1];
    if (found === undefined || found.text.trim() === '' || column > maxColumns) return undefined;
    const visible = maskLine(cover(found, this.made.hidden)).replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, ' ');
    return visible.length > maxColumns ? `${visible.slice(0, maxColumns)}…` : visible;
  }
}

interface Line {
  readonly text: string;
  readonly offset: number;
}

type Range = readonly [from: number, to: number];

function linesOf(text: string): readonly Line[] {
  let offset = 0;
  return text.split('\n').map(line => {
    const start = offset;
    offset += line.length + 1;
    return {text: line.replace(/\r$/, ''), offset: start};
  });
}

/** Where scalars stand whose key names a secret; the names in a reference to one are none. */
function secretsIn(contents: Node): Range[] {
  const found: Range[] = [];
  const add = (node: unknown): void => {
    if (isScalar(node) && node.range) found.push([node.range[0], node.range[1]]);
  };
  visit(contents, {
    Pair: (_, {key, value}) => {
      if (!isScalar(key) || !namesSecret(String(key.value))) return;
      add(value);
      if (!isMap(value)) return;
      for (const item of value.items) {
        const isReference = isScalar(item.key) && (item.key.value === 'env' || item.key.value === 'file');
        if (!isReference) add(item.value);
      }
    },
  });
  return found;
}

function cover({text, offset}: Line, ranges: readonly Range[]): string {
  return ranges.reduce((covered, [from, to]) => {
    const start = Math.max(from - offset, 0);
    const end = Math.min(to - offset, covered.length);
    return start < end ? covered.slice(0, start) + '*'.repeat(end - start) + covered.slice(end) : covered;
  }, text);
}
