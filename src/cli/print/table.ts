/** Plain tables as kubectl prints them: a header, no lines, columns as wide as they need to be. */

/** Lines with their end. cli-table3 is loaded here, where a table is really printed. */
export async function tableText(head: readonly string[], rows: readonly (readonly string[])[]): Promise<string> {
  const {default: Table} = await import('cli-table3');
  const table = new Table({chars: noBorders, style: {head: [], border: [], 'padding-left': 0, 'padding-right': 0}});
  table.push([...head], ...rows.map(row => row.map(cell => oneLine(cell))));
  const lines = table.toString().split('\n');
  return lines.map(line => `${line.trimEnd()}\n`).join('');
}

/** What a table has no room for: a cell is one line. */
function oneLine(cell: string): string {
  return cell.replaceAll(/\s*\r?\n\s*/g, ' ');
}

const gap = '   ';

const noBorders = {
  ...{top: '', 'top-mid': '', 'top-left': '', 'top-right': ''},
  ...{bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': ''},
  ...{left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: gap},
};
