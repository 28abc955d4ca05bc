/** `rollout …`: a person's word on single specialists, over what their source says. */
import {Option} from 'commander';
import type {Command as Commander} from 'commander';
import {parseDuration, parseRevision} from '../arguments.js';
import type {GlobalOptions, RolloutChangeOptions} from '../options.js';
import type {Choose} from '../program.js';

interface Raw extends GlobalOptions {
  readonly timeout: number;
  readonly wait?: true;
  readonly toRevision?: number | string;
  readonly source?: string;
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

  const changing = (action: RolloutChangeOptions['action'], description: string, argument = '<name...>'): Commander =>
    rollout
      .command(action)
      .description(description)
      .argument(argument, nameHelp)
      .option('--wait', 'wait until they are Ready')
      .addOption(timeoutOption())
      .action((names: string[], _options, command: Commander) => {
        const {timeout: timeoutMs, wait = false, toRevision, source, ...raw} = command.optsWithGlobals<Raw>();
        if ((action === 'undo' || action === 'resume') && source !== undefined) {
          if (names.length > 0) command.error('error: --source is in place of names');
          const commit = toRevision === undefined ? {} : {toRevision: String(toRevision)};
          return choose(() => import('../commands/rollout-source.js'), [], {...scope(raw), action, source, ...commit});
        }
        if (names.length === 0) command.error("error: missing required argument 'name'");
        if (typeof toRevision === 'string') {
          command.error('error: a commit goes with --source; specialists go back to a generation');
        }
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
  changing('undo', 'go back to an earlier declaration, or commit, and hold it', '[name...]')
    .option(
      '--to-revision <revision>',
      'a generation (default: the last that was another); a commit with --source',
      parseRevision,
    )
    .option('--source <name>', 'this git source, in place of specialists');
  changing('pause', 'hold them as they are, whatever their file says');
  changing('resume', 'let their file, or the branch, count again', '[name...]').option(
    '--source <name>',
    'this git source, in place of specialists',
  );
  for (const verb of rollout.commands) verb.showHelpAfterError(`hint: tekton-ai rollout ${verb.name()} --help`);
}

function scope({namespace, fleet}: GlobalOptions): GlobalOptions {
  return {...(namespace !== undefined && {namespace}), ...(fleet !== undefined && {fleet})};
}
