/** A review as GitHub's and GitLab's Markdown: for a comment, or the summary of a job. */
import {qualifiedName} from '../view.js';
import type {Review, ReviewedAction, ReviewedChange} from './review.js';
import {massPruneText, originText, stepsOf, titleOf, visible} from './words.js';

/** A comment on GitHub may have 65,536 characters, and bytes are never fewer; the rest is room for a marker. */
export const commentBytes = 65_400;

/**
 * At most `limit` bytes: what is too much is left out from the end, and it says so. All that the files say stands in
 * code, where no Markdown, no HTML and no mention counts.
 */
export function markdownText(review: Review, limit = commentBytes): string {
  const heading = [`### tekton-ai ${verbText(review)}`, '', `**${escapeText(review.summary)}**`, ''];
  const text = new Bounded(limit - cutBytes);
  text.add(heading.join('\n'));
  if (review.problems.length > 0) {
    text.add('\n');
    for (const {place, message, hint, excerpt} of review.problems) {
      const at = place
        ? `${code([place.file, place.line, place.column].filter(part => part !== undefined).join(':'))} `
        : '';
      const more = hint === undefined ? '' : `<br>${code(hint)}`;
      const source = excerpt === undefined ? '' : `<br>${code(excerpt)}`;
      text.add(`- ${at}${code(message)}${source}${more}\n`);
    }
  }
  const steps = review.fleets.flatMap(stepsOf);
  if (steps.length > 0) {
    text.add('\n| | specialist | why |\n|---|---|---|\n');
    for (const step of steps) text.add(row(step));
  }
  const held = review.fleets.filter(fleet => fleet.massPrune).map(massPruneText);
  const remarks = [...held, ...review.remarks];
  if (remarks.length > 0) {
    text.add('\n');
    for (const remark of remarks) text.add(`- ${code(remark)}\n`);
  }
  for (const step of steps) if (step.changes.length > 0) text.add(details(step));
  return text.whole(
    count => `\n_${count} more ${count === 1 ? 'part is' : 'parts are'} left out: the text is too long._\n`,
  );
}

/** Room for the sentence that says how much was left out. */
const cutBytes = 100;

/** Parts that are whole, or not there. After the first that doesn't fit nothing follows. */
class Bounded {
  private text = '';
  private bytes = 0;
  private left = 0;

  constructor(private readonly limit: number) {}

  add(part: string): void {
    const size = Buffer.byteLength(part);
    if (this.left > 0 || this.bytes + size > this.limit) {
      this.left++;
      return;
    }
    this.text += part;
    this.bytes += size;
  }

  whole(say: (left: number) => string): string {
    return this.left === 0 ? this.text : this.text + say(this.left);
  }
}

function verbText(review: Review): string {
  return review.against === undefined
    ? review.verb
    : `${review.verb} against ${code(titleOf(review).replace(/^\w+ against /, ''))}`;
}

const signs: Readonly<Record<ReviewedAction['type'], string>> = {
  create: '+ create',
  reconfigure: '~ reconfigure',
  restart: '-/+ restart',
  leave: 'left as changed by hand',
  stop: '- stop',
  prune: '- prune',
  block: '! blocked',
  keep: 'keep',
};

function row(step: ReviewedAction): string {
  const what = step.type === 'create' && step.model !== undefined ? `${step.component}, ${step.model}` : undefined;
  const why = [what, step.why, step.type !== 'create' && fieldsText(step.changes)].filter(
    part => typeof part === 'string' && part !== '',
  );
  const because = why.length === 0 ? '' : cell(why.join(': '));
  return `| ${cell(signs[step.type])} | ${cell(qualifiedName(step))} | ${because} |\n`;
}

const mostFields = 8;

function fieldsText(changes: readonly ReviewedChange[]): string {
  const fields = changes.slice(0, mostFields).map(({path}) => path);
  return [...fields, ...(changes.length > mostFields ? [`${changes.length - mostFields} more`] : [])].join(', ');
}

function details(step: ReviewedAction): string {
  const content = step.changes.map(changeLines).join('\n');
  const fence = '`'.repeat(Math.max(3, longestRun(content) + 1));
  const title = `${step.type} ${qualifiedName(step)} (${step.changes.length})`;
  return `\n<details><summary>${escapeText(title)}</summary>\n\n${fence}diff\n${content}\n${fence}\n\n</details>\n`;
}

function changeLines({path, from, to, origin}: ReviewedChange): string {
  const place = origin === undefined ? '' : originText(origin);
  const lines = [`@@ ${path} @@${place === '' ? '' : ` ${place}`}`];
  if (from !== undefined) lines.push(...linesOf(from).map(line => `- ${line}`));
  if (to !== undefined) lines.push(...linesOf(to).map(line => `+ ${line}`));
  return lines.map(line => visible(line)).join('\n');
}

/** Of a value alone; a prompt may be longer, and its beginning says enough. */
const longestValue = 4_000;

/** A text of several lines as it reads, all else as JSON. */
function linesOf(value: NonNullable<ReviewedChange['to']> | null): readonly string[] {
  const text = typeof value === 'string' && value.includes('\n') ? value.replace(/\n$/, '') : JSON.stringify(value);
  const cut = text.length <= longestValue ? text : `${text.slice(0, longestValue)}…`;
  return cut.split('\n');
}

/** A code span, in one line. */
function code(text: string): string {
  const content = visible(text.replaceAll(/\s*\n\s*/g, ' ')).trim();
  if (content === '') return '';
  const fence = '`'.repeat(longestRun(content) + 1);
  const pad = fence.length > 1 ? ' ' : '';
  return `${fence}${pad}${content}${pad}${fence}`;
}

/** A code span within a table. */
function cell(text: string): string {
  return code(text).replaceAll('|', String.raw`\|`);
}

function longestRun(text: string): number {
  return Math.max(0, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
}

/** What is no code: summaries, and names. */
function escapeText(text: string): string {
  return visible(text.replaceAll(/\s+/g, ' ')).replaceAll(
    /[\\`*_{}[\]()#<>&@|~!]/g,
    found => `&#${found.charCodeAt(0)};`,
  );
}
