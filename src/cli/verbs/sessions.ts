/** `sessions …`: the conversations that a specialist remembers. */
import {Option, type Command as Commander} from 'commander';
import {outputFormats} from '../arguments.js';
import type {OutputFormat} from '../options.js';
import type {Choose} from '../program.js';
import {nameHelp, scope, type Scope} from './scope.js';

interface Raw extends Scope {
  readonly output: OutputFormat;
  readonly all?: true;
}

export function addSessions(program: Commander, choose: Choose): void {
  const sessions = program
    .command('sessions')
    .description('list the conversations that a specialist remembers, or delete them')
    .usage('[options] <name> | delete <name> <session...>')
    .argument('<name>', nameHelp)
    .addOption(new Option('-o, --output <format>', 'how to print').choices(outputFormats).default('table'))
    .action((name: string, _options, command: Commander) => {
      const {output, ...raw} = command.optsWithGlobals<Raw>();
      choose(() => import('../commands/sessions.js'), [name], {...scope(raw), output});
    });
  sessions
    .command('delete')
    .description('forget conversations, in memory and on disk')
    .usage('[options] <name> [session...]')
    .argument('<name>', nameHelp)
    .argument('[session...]', 'those to forget')
    .option('--all', 'every one')
    .showHelpAfterError('hint: tekton-ai sessions delete --help')
    .action((name: string, names: string[], _options, command: Commander) => {
      const {all = false, ...raw} = command.optsWithGlobals<Raw>();
      choose(() => import('../commands/sessions-delete.js'), [name, ...names], {...scope(raw), all});
    });
}
