import {exitCodes} from '../../api/errors.js';
import {apiVersion} from '../../api/types.js';
import type {Command} from '../context.js';
import type {UsageOptions} from '../options.js';
import {write, writeJson, writeLine, writeYaml} from '../output.js';
import {tableText} from '../print/table.js';
import {usageColumns, usageRow} from '../print/usage.js';
import {refuseUnknownFleet} from '../unknown-fleet.js';
import {reportUsage, type UsageReport} from '../usage-report.js';
import {qualifiedName} from '../view.js';

/** Sums of what the workers have written down; they need not run. */
export const run: Command<UsageOptions> = async (context, names, options) => {
  const {home, stdout, stderr} = context;
  const report = await reportUsage(home, names, options, Date.now());
  if (report.rows.length === 0) refuseUnknownFleet(home, options);
  for (const file of report.unreadable) {
    await writeLine(stderr, `warning: cannot read ${file}; what it counts is missing`);
  }
  const print = {json: writeJson, yaml: writeYaml};
  switch (options.output) {
    case 'json':
    case 'yaml':
      await print[options.output](stdout, documentOf(report, options));
      break;
    case 'name':
      await write(stdout, report.rows.map(row => `${nameOf(row, options)}\n`).join(''));
      break;
    case 'table':
    case 'wide':
      if (report.rows.length === 0) await writeLine(stderr, 'nothing was used');
      else await write(stdout, textOf(report, options));
  }
  return exitCodes.ok;
};

function documentOf({from, to, rows, total}: UsageReport, {by}: UsageOptions): object {
  return {apiVersion, kind: 'UsageReport', from, to, by, items: rows, total};
}

function nameOf(row: UsageReport['rows'][number], {by}: UsageOptions): string {
  const {name = '', namespace = 'default', provider = '', model = '', day = ''} = row;
  const names = {specialist: qualifiedName({name, namespace}), provider, model: `${provider}:${model}`, day};
  return `${by}/${names[by]}`;
}

function textOf({rows, total}: UsageReport, {by, output}: UsageOptions): string {
  const options = {by, wide: output === 'wide', budgets: rows.some(({budget}) => budget !== undefined)};
  const lines = rows.map(row => usageRow(row, options));
  const sum = rows.length > 1 ? [usageRow(total, {...options, label: 'TOTAL'})] : [];
  return tableText(usageColumns(options), [...lines, ...sum]);
}
