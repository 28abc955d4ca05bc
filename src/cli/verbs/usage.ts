/** The verbs that count: `usage` from the state folder, `top` from what runs. */
import {type Command as Commander, Option} from 'commander';
import {outputFormats, parseDay, parseLabels, parseSince} from '../arguments.js';
import type {LabelSelector, OutputFormat, UsageOptions} from '../options.js';
import type {Choose} from '../program.js';
import {nameHelp, scope, type Scope} from './scope.js';

export function addUsageVerbs(program: Commander, choose: Choose): void {
  program
    .command('usage')
    .description('requests, tokens and cost per specialist, of today (UTC) or longer; nothing needs to run')
    .argument('[name...]', `${nameHelp} (default: all)`)
    .addOption(
      new Option(
        '--since <days>',
        'the last so many days, today included (7d), or from a day on (2026-11-01)',
      ).argParser(parseSince),
    )
    .addOption(new Option('--day <day>', 'one day, such as 2026-11-22').argParser(parseDay).conflicts('since'))
    .addOption(
      new Option('--by <what>', 'what to sum up')
        .choices(['specialist', 'provider', 'model', 'day'])
        .default('specialist'),
    )
    .addOption(
      new Option('-l, --selector <labels>', 'only specialists with these labels (team=a,tier!=b,gpu)')
        .argParser((text, before: LabelSelector) => [...before, ...parseLabels(text)])
        .default([], 'all'),
    )
    .addOption(new Option('-o, --output <format>', 'how to print').choices(outputFormats).default('table'))
    .action((names: string[], _options, command: Commander) => {
      const {by, selector, output, since, day, ...raw} = command.optsWithGlobals<Scope & UsageOptions>();
      choose(() => import('../commands/usage.js'), names, {
        ...scope(raw),
        by,
        selector,
        output,
        ...(since !== undefined && {since}),
        ...(day !== undefined && {day}),
      });
    });

  program
    .command('top')
    .description('how busy the specialists are that run: chats, rates, latencies, memory')
    .argument('[name...]', `${nameHelp} (default: all)`)
    .addOption(new Option('-o, --output <format>', 'how to print').choices(outputFormats).default('table'))
    .option('-w, --watch', 'draw it again every two seconds')
    .action((names: string[], _options, command: Commander) => {
      const {output, watch, ...raw} = command.optsWithGlobals<Scope & {output: OutputFormat; watch?: true}>();
      choose(() => import('../commands/top.js'), names, {...scope(raw), output, watch: watch ?? false});
    });
}
