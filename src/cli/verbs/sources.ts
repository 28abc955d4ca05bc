/** The verbs on git sources. */
import {Option, type Command as Commander} from 'commander';
import {outputFormats, parseDuration} from '../arguments.js';
import type {OutputFormat, SourceChangeOptions} from '../options.js';
import type {Choose} from '../program.js';
import {scope, type Scope} from './scope.js';

interface Raw extends Scope {
  readonly output: OutputFormat;
  readonly wait?: true;
  readonly timeout?: number;
}

const sourceHelp = 'name of a git source, or namespace/name';

export function addSourceVerbs(program: Commander, choose: Choose): void {
  const sources = program
    .command('sources')
    .description('list the git sources that are followed, or delete them')
    .usage('[options] [name...] | delete <name...>')
    .argument('[name...]', sourceHelp)
    .addOption(new Option('-o, --output <format>', 'how to print').choices(outputFormats).default('table'))
    .action((names: string[], _options, command: Commander) => {
      const {output, ...raw} = command.optsWithGlobals<Raw>();
      choose(() => import('../commands/sources.js'), names, {...scope(raw), output});
    });
  sources
    .command('delete')
    .description('forget git sources whose fleets are stopped')
    .argument('<name...>', sourceHelp)
    .showHelpAfterError('hint: tekton-ai sources delete --help')
    .action((names: string[], _options, command: Commander) => {
      choose(() => import('../commands/sources-delete.js'), names, scope(command.optsWithGlobals<Raw>()));
    });

  const changing = (action: SourceChangeOptions['action'], description: string): Commander =>
    program
      .command(action)
      .description(description)
      .argument('<name...>', sourceHelp)
      .action((names: string[], _options, command: Commander) => {
        const {wait = false, timeout: timeoutMs = 0, ...raw} = command.optsWithGlobals<Raw>();
        choose(() => import('../commands/source-change.js'), names, {...scope(raw), action, wait, timeoutMs});
      });
  changing('suspend', 'follow git sources no more, until they are resumed');
  changing('resume', 'follow git sources again, from now on');
  changing('reconcile', 'look at git sources now instead of when they are due')
    .option('--wait', 'until what was found is in force, or is not (exit code 1)')
    .addOption(new Option('--timeout <duration>', 'how long to wait').argParser(parseDuration).default(60_000, '60s'));
}
