/** `rollout …`: a person's word on single specialists, over what their source says. */
import {Option} from 'commander';
import type {Command as Commander} from 'commander';
import {parseCount, parseDuration} from '../arguments.js';
import type {GlobalOptions, RolloutChangeOptions} from '../options.js';
import type {Choose} from '../program.js';

interface Raw extends GlobalOptions {
  readonly timeout: number;
  readonly wait?: true;
  readonly toRevision?: number;
  readonly output: 'table' | 'json';
}

const nameHelp = 'name, ai id, or namespace/name';

const timeoutOption = (): Option =>
  new Option('--timeout <duration>', 'how long to wait').argParser(parseDuration).default(60_000, '60s');

export function addRollout(program: Commander, choose: Choose): void {
  const rollout = program
    .command('rollout')
    .description('restart, hold and take back: restart, status, history, undo, pause, resume')
    .usage('<verb> [options] <name...>');

  const changing = (action: RolloutChangeOptions['action'], description: string): Commander =>
    rollout
      .command(action)
      .description(description)
      .argument('<name...>', nameHelp)
      .option('--wait', 'wait until they are Ready')
      .addOption(timeoutOption())
      .action((names: string[], _options, command: Commander) => {
        const {timeout: timeoutMs, wait = false, toRevision, ...raw} = command.optsWithGlobals<Raw>();
        const options = {...scope(raw), action, timeoutMs, wait, ...(toRevision !== undefined && {toRevision})};
        choose(() => import('../commands/rollout-change.js'), names, options);
      });

  changing('restart', 'replace the workers by new ones, without a refused connection');
  rollout
    .command('status')
    .description('wait until what is declared last runs and is Ready')
    .argument('<name...>', nameHelp)
    .addOption(timeoutOption())
    .action((names: string[], _options, command: Commander) => {
      const {timeout: timeoutMs, ...raw} = command.optsWithGlobals<Raw>();
      choose(() => import('../commands/rollout-status.js'), names, {...scope(raw), timeoutMs});
    });
  rollout
    .command('history')
    .description('what was declared over time')
    .argument('<name>', nameHelp)
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table'))
    .action((name: string, _options, command: Commander) => {
      const {output, ...raw} = command.optsWithGlobals<Raw>();
      choose(() => import('../commands/rollout-history.js'), [name], {...scope(raw), output});
    });
  changing('undo', 'go back to an earlier declaration, and hold it').option(
    '--to-revision <generation>',
    'this one (default: the last that was another)',
    parseCount,
  );
  changing('pause', 'hold them as they are, whatever their file says');
  changing('resume', 'let their file count again');
  for (const verb of rollout.commands) verb.showHelpAfterError(`hint: tekton-ai rollout ${verb.name()} --help`);
}

function scope({namespace, fleet}: GlobalOptions): GlobalOptions {
  return {...(namespace !== undefined && {namespace}), ...(fleet !== undefined && {fleet})};
}
