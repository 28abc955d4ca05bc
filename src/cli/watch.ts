/** `get -w`: the table, and from then on each row that changes. */
import {exitCodes, type ExitCode} from '../api/errors.js';
import {statePaths} from '../registry/paths.js';
import {chosen} from './commands/get.js';
import type {CommandContext} from './context.js';
import {watchFolder} from './follow.js';
import {knownSpecialists} from './names.js';
import {noticeLines, writeNotices} from './notices.js';
import {observe} from './observe.js';
import type {GetOptions} from './options.js';
import {write, writeJson, writeLine, writeYaml} from './output.js';
import {pullText} from './print/amounts.js';
import {specialistDocument} from './print/documents.js';
import {specialistColumns, specialistRow} from './print/specialists.js';
import {styleFor} from './print/style.js';
import {columnWidths, rowText} from './print/table.js';
import {selectMany} from './select.js';
import {qualifiedName, type SpecialistView} from './view.js';

/** Looked at again after this time, though no file of the controller changed: it may have died. */
const againMs = 1000;

/** Goes on until it is interrupted. @throws {TektonError} as `observe` does, and for unknown names */
export async function watchSpecialists(
  context: CommandContext,
  names: readonly string[],
  options: GetOptions,
): Promise<ExitCode> {
  const {signal, home} = context;
  const named = names.length === 0 ? [] : await selectMany(knownSpecialists(home, options), names);
  const meant = names.length === 0 ? {} : {aiIds: new Set(named.map(({aiId}) => aiId))};
  const changes = watchFolder(statePaths(home).status);
  const printer = printerFor(context, options);
  let shown: ReadonlyMap<string, string> | undefined;
  let said = '';
  try {
    while (!signal.aborted) {
      const observation = await observe(context, {...options, ...meant});
      // What was seen while it was being cut short is not worth a line.
      if (context.signal.aborted) break;
      const remarks = noticeLines(observation).join('\n');
      if (remarks !== said) await writeNotices(context, observation);
      said = remarks;
      const views = await chosen(context, observation.specialists, options);
      const next = new Map(views.map(view => [view.aiId, fingerprint(view)]));
      const changed = views.filter(view => shown?.get(view.aiId) !== next.get(view.aiId));
      await printer.print(changed);
      for (const aiId of shown?.keys() ?? []) if (!next.has(aiId)) await printer.gone(aiId);
      shown = next;
      await changes.next(againMs, signal);
    }
  } finally {
    changes.close();
  }
  return exitCodes.interrupted;
}

/** What makes a new line worth its while; usage counters are not among it. */
function fingerprint({status, generation}: SpecialistView): string {
  const {phase, port, restarts, model, pull, instance, conditions} = status;
  const said = conditions.map(({type, status: value, reason, message}) => [type, value, reason, message]);
  return JSON.stringify([generation, phase, port, restarts, model, pull && pullText(pull), instance?.uid, said]);
}

interface Printer {
  print(views: readonly SpecialistView[]): Promise<void>;
  gone(aiId: string): Promise<void>;
}

function printerFor(context: CommandContext, {output}: GetOptions): Printer {
  const {stdout, stderr} = context;
  const gone = (aiId: string) => writeLine(stderr, `${aiId} is gone`);
  const each = (printOne: (view: SpecialistView) => Promise<void>): Printer => ({
    gone,
    print: async views => {
      for (const view of views) await printOne(view);
    },
  });
  switch (output) {
    case 'json':
      return each(view => writeJson(stdout, specialistDocument(view)));
    case 'yaml':
      return each(async view => {
        await writeLine(stdout, '---');
        await writeYaml(stdout, specialistDocument(view));
      });
    case 'name':
      return each(view => writeLine(stdout, `specialist/${qualifiedName(view)}`));
    case 'table':
    case 'wide':
      return {gone, print: tablePrinter(context, output === 'wide')};
  }
}

/** The columns of the first table are kept, so that later rows stand under its header. */
function tablePrinter(context: CommandContext, wide: boolean): Printer['print'] {
  const head = specialistColumns(wide);
  const style = styleFor(context.color);
  let widths: readonly number[] | undefined;
  return async views => {
    if (views.length === 0) return;
    const rows = views.map(view => specialistRow(view, {wide, style, now: Date.now()}));
    const lines = widths === undefined ? [head, ...rows] : rows;
    const kept = (widths ??= columnWidths(head, rows));
    await write(context.stdout, lines.map(line => rowText(line, kept)).join(''));
  };
}
