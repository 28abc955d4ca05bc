/**
 * Plain tables as kubectl prints them: a header, no lines, columns as wide as they need to be. Written by hand, for
 * a table of 100 specialists takes cli-table3 some 50 ms, more than all the rest of `get`.
 */
import {stripVTControlCharacters} from 'node:util';

type Row = readonly string[];

const gap = '   ';

/** Lines with their end. A cell is one line, whatever is in it. */
export function tableText(head: Row, rows: readonly Row[]): string {
  const widths = columnWidths(head, rows);
  return [head, ...rows].map(row => rowText(row, widths)).join('');
}

/** How wide each column must be for all of these, in characters. */
export function columnWidths(head: Row, rows: readonly Row[]): readonly number[] {
  return head.map((_, column) => Math.max(...[head, ...rows].map(row => visibleLength(row[column] ?? ''))));
}

/** One line with its end; for rows that come later than their table. A cell that is too long moves the others. */
export function rowText(row: Row, widths: readonly number[]): string {
  const cells = row.map((cell, column) => {
    const missing = (widths[column] ?? 0) - visibleLength(cell);
    return oneLine(cell) + ' '.repeat(Math.max(0, missing));
  });
  return `${cells.join(gap).trimEnd()}\n`;
}

/** What a client chose as a name, on one line and without anything that a terminal would obey. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, character => {
    const code = character.codePointAt(0) ?? 0;
    return `\\u{${code.toString(16)}}`;
  });
}

function oneLine(cell: string): string {
  return cell.replaceAll(/\s*\r?\n\s*/g, ' ');
}

/** Colours take no room. */
function visibleLength(cell: string): number {
  const line = oneLine(cell);
  return line.includes('\u001b') ? stripVTControlCharacters(line).length : line.length;
}
