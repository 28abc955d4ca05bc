/** `notify test`: whether those who are to be told can be. */
import type {Command as Commander} from 'commander';
import type {NotifyTestOptions} from '../options.js';
import type {Choose} from '../program.js';
import {scope, type Scope} from './scope.js';

export function addNotify(program: Commander, choose: Choose): void {
  const notify = program.command('notify').description('try the notifications that fleets declare');
  notify
    .command('test')
    .description("send a sample event to the fleets' notifications, and say what became of it")
    .usage('[options] [name...]')
    .argument('[name...]', 'of notifications; none: every one')
    .showHelpAfterError('hint: tekton-ai notify test --help')
    .action((names: string[], _options, command: Commander) => {
      const options: NotifyTestOptions = scope(command.optsWithGlobals<Scope>());
      choose(() => import('../commands/notify-test.js'), names, options);
    });
}
