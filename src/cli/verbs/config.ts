/** `config view`: what the files come to. */
import {Option} from 'commander';
import type {Command as Commander} from 'commander';
import type {ConfigViewOptions} from '../options.js';
import type {Choose} from '../program.js';
import {fileOption, varOption} from './files.js';
import {scope, type Scope} from './scope.js';

interface Raw extends Scope {
  readonly file: readonly string[];
  readonly var: Readonly<Record<string, string>>;
  readonly sources?: true;
  readonly output: ConfigViewOptions['output'];
}

export function addConfig(program: Commander, choose: Choose): void {
  const config = program.command('config').description('look at what the files declare');
  config
    .command('view')
    .description('print each fleet as it counts: bases, patches, variables, environment and defaults as one')
    .addOption(fileOption())
    .addOption(varOption())
    .option('--sources', 'say behind each value where it is from')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['yaml', 'json']).default('yaml'))
    .showHelpAfterError('hint: tekton-ai config view --help')
    .action((_options, command: Commander) => {
      const {file: files, var: variables, sources = false, output, ...rest} = command.optsWithGlobals<Raw>();
      const options: ConfigViewOptions = {...scope(rest), files, variables, sources, output};
      choose(() => import('../commands/config-view.js'), [], options);
    });
}
