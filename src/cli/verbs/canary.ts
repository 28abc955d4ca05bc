/** `canary`: the prompts of a specialist, asked now. */
import {type Command as Commander, Option} from 'commander';
import type {CanaryOptions} from '../options.js';
import type {Choose} from '../program.js';
import {nameHelp, scope, type Scope} from './scope.js';

export function addCanary(program: Commander, choose: Choose): void {
  program
    .command('canary')
    .description('ask a specialist its canary prompts now, and say how it did')
    .argument('<name>', nameHelp)
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table'))
    .action((name: string, _options, command: Commander) => {
      const {output, ...raw} = command.optsWithGlobals<Scope & CanaryOptions>();
      choose(() => import('../commands/canary.js'), [name], {...scope(raw), output});
    });
}
