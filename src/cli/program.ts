/** The command line: what may be asked for, and in which words. Parses only; `run.ts` carries it out. */
import {Command as Commander, CommanderError} from 'commander';
import {exitCodes, type ExitCode} from '../api/errors.js';
import {version} from '../api/version.js';
import type {Command, CommandContext} from './context.js';
import {environmentHelp, examplesHelp, exitCodesHelp} from './help.js';
import {addChangingVerbs} from './verbs/changing.js';
import {addReadingVerbs} from './verbs/reading.js';

/** What an argument list asks for. */
export interface Invocation {
  /** As given to `--home`. */
  readonly home: string | undefined;
  readonly color: boolean;
  readonly args: readonly string[];
  /** One of the types in options.ts: the one of the verb. */
  readonly options: unknown;
  /** Loads the module of the verb, and no other. */
  readonly load: () => Promise<(context: CommandContext) => Promise<ExitCode>>;
}

export interface ParseOutput {
  out(text: string): void;
  err(text: string): void;
}

/** Called by the chosen verb with the module that carries it out. */
export type Choose = <Options>(
  load: () => Promise<{readonly run: Command<Options>}>,
  args: readonly string[],
  options: Options,
) => void;

/**
 * Parses `argv` (without node and script). Help goes to `out`, usage errors to `err`; both resolve with the exit
 * code that ends the command.
 */
export function parseCommandLine(argv: readonly string[], output: ParseOutput): Invocation | ExitCode {
  let chosen: Pick<Invocation, 'args' | 'options' | 'load'> | undefined;
  const program = build(output, (load, args, options) => {
    const loadBound = async () => {
      const {run} = await load();
      return (context: CommandContext) => run(context, args, options);
    };
    chosen = {args, options, load: loadBound};
  });
  try {
    refuseUnknownHelp(program, argv);
    if (argv.length === 0) program.outputHelp();
    else program.parse(argv, {from: 'user'});
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? exitCodes.ok : exitCodes.invalidInput;
  }
  if (chosen === undefined) return exitCodes.ok;
  const {home, color} = program.opts<{home?: string; color: boolean}>();
  return {home, color, ...chosen};
}

/** commander answers `help nothing` with the help of everything, and success. */
function refuseUnknownHelp(program: Commander, argv: readonly string[]): void {
  const [word, name] = argv.filter(argument => !argument.startsWith('-'));
  if (word !== 'help' || name === undefined || program.commands.some(verb => verb.name() === name)) return;
  program.error(`error: unknown command '${name}'`, {code: 'commander.unknownCommand'});
}

function build(output: ParseOutput, choose: Choose): Commander {
  const program = new Commander('tekton-ai')
    .description("Declares a platform's AI specialists in one file, makes it so, and keeps it so.")
    .usage('<verb> [options]')
    .version(version, '-V, --version', 'print the version')
    .option('--home <folder>', 'state folder (default: $TEKTON_AI_HOME, then ~/.tekton/ai_registry)')
    .option('-n, --namespace <namespace>', 'only this namespace')
    .option('--fleet <name>', 'only this fleet')
    .option('--no-color', 'no colours')
    .helpOption('-h, --help', 'show help')
    .addHelpText('after', [examplesHelp, exitCodesHelp, environmentHelp].join('\n'))
    .configureHelp({showGlobalOptions: true, subcommandTerm: command => command.name()})
    .configureOutput({writeOut: text => output.out(text), writeErr: text => output.err(text)})
    .exitOverride();
  addChangingVerbs(program, choose);
  addReadingVerbs(program, choose);
  program.helpCommand('help [verb]', 'show help of a verb');
  for (const verb of program.commands) verb.showHelpAfterError(`hint: tekton-ai ${verb.name()} --help`);
  return program.showHelpAfterError('hint: tekton-ai --help lists the verbs');
}
