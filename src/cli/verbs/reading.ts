/** The verbs that look and talk, and `worker`. */
import {type Command as Commander, Option} from 'commander';
import {outputFormats, parseCount, parseDuration, parsePort, parseWaitFor} from '../arguments.js';
import type {OutputFormat, StatusOptions, WaitFor} from '../options.js';
import type {Choose} from '../program.js';
import {addCanary} from './canary.js';
import {nameHelp, scope} from './scope.js';
import {addNotify} from './notify.js';
import {addSessions} from './sessions.js';
import {addUsageVerbs} from './usage.js';

/** Options as commander hands them out; which of them a verb has is said beside it. */
interface Raw {
  readonly namespace?: string;
  readonly fleet?: string;
  readonly watch?: true;
  readonly component?: string;
  readonly role?: string;
  readonly follow?: true;
  readonly tail?: number;
  readonly session?: string;
  readonly stream: boolean;
  readonly limit: number;
  readonly port?: number;
  readonly provider?: string;
  readonly model?: string;
  readonly name?: string;
}

export function addReadingVerbs(program: Commander, choose: Choose): void {
  program.commandsGroup('Look and talk:');

  program
    .command('get')
    .description('list specialists')
    .argument('[name...]', nameHelp)
    .addOption(new Option('-o, --output <format>', 'how to print').choices(outputFormats).default('table'))
    .option('-w, --watch', 'go on printing what changes')
    .option('--component <component>', 'only specialists of this component')
    .option('--role <role>', 'only specialists with this role')
    .action((names: string[], _options, command: Commander) => {
      const {watch, component, role, output, ...raw} = command.optsWithGlobals<Raw & {output: OutputFormat}>();
      choose(() => import('../commands/get.js'), names, {
        ...scope(raw),
        output,
        watch: watch ?? false,
        ...(component !== undefined && {component}),
        ...(role !== undefined && {role}),
      });
    });

  program
    .command('wait')
    .description('wait until specialists stand as wanted')
    .argument('[name...]', `${nameHelp} (default: all)`)
    .addOption(
      new Option('--for <what>', 'delete, or condition=TYPE[=STATUS]')
        .argParser(parseWaitFor)
        .default(parseWaitFor('condition=Ready'), 'condition=Ready'),
    )
    .addOption(new Option('--timeout <duration>', 'how long to wait').argParser(parseDuration).default(60_000, '60s'))
    .action((names: string[], _options, command: Commander) => {
      const {
        for: wanted,
        timeout: timeoutMs,
        ...raw
      } = command.optsWithGlobals<Raw & {for: WaitFor; timeout: number}>();
      choose(() => import('../commands/wait.js'), names, {...scope(raw), for: wanted, timeoutMs});
    });

  program
    .command('status')
    .description('components, ports, models, health and memory, and why something is not well')
    .addOption(
      new Option('-o, --output <format>', 'fleets rolled up as documents, or the table')
        .choices(['table', 'json', 'yaml'])
        .default('table'),
    )
    .action((_options, command: Commander) => {
      const {output, ...raw} = command.optsWithGlobals<Raw & Pick<StatusOptions, 'output'>>();
      choose(() => import('../commands/status.js'), [], {...scope(raw), output});
    });

  program
    .command('describe')
    .description('everything about one specialist')
    .argument('<name>', nameHelp)
    .action((name: string, _options, command: Commander) => {
      choose(() => import('../commands/describe.js'), [name], scope(command.optsWithGlobals<Raw>()));
    });

  program
    .command('why')
    .description('what led to the state that one specialist is in, and what comes next')
    .argument('<name>', nameHelp)
    .action((name: string, _options, command: Commander) => {
      choose(() => import('../commands/why.js'), [name], scope(command.optsWithGlobals<Raw>()));
    });

  program
    .command('logs')
    .description("print a specialist's log")
    .argument('<name>', nameHelp)
    .option('-f, --follow', 'go on printing what is written')
    .option('--tail <lines>', 'begin with the last so many lines', parseCount)
    .action((name: string, _options, command: Commander) => {
      const {follow, tail, ...raw} = command.optsWithGlobals<Raw>();
      const options = {...scope(raw), follow: follow ?? false, ...(tail !== undefined && {tail})};
      choose(() => import('../commands/logs.js'), [name], options);
    });

  program
    .command('chat')
    .description('talk to a specialist; without a message, interactively')
    .argument('[name]', `${nameHelp}; left out with --role`)
    .argument('[message...]', 'what to say; - reads it from standard input')
    .option('--role <role>', 'talk to the best that is Ready among those with this role')
    .option('--session <id>', 'keep the turns on the worker under this id')
    .option('--no-stream', 'print the answer when it is whole')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .action((name: string | undefined, words: string[], _options, command: Commander) => {
      const {session, role, stream, output, ...raw} = command.optsWithGlobals<Raw & {output: 'text' | 'json'}>();
      const options = {
        ...scope(raw),
        stream,
        output,
        ...(session !== undefined && {session}),
        ...(role !== undefined && {role}),
      };
      choose(() => import('../commands/chat.js'), name === undefined ? [] : [name, ...words], options);
    });

  addSessions(program, choose);
  addNotify(program, choose);
  addCanary(program, choose);

  program
    .command('events')
    .description('what happened, oldest first')
    .argument('[name]', nameHelp)
    .option('-w, --watch', 'go on printing what happens')
    .option('--limit <count>', 'the newest so many', parseCount, 50)
    .action((name: string | undefined, _options, command: Commander) => {
      const {watch, limit, ...raw} = command.optsWithGlobals<Raw>();
      const options = {...scope(raw), watch: watch ?? false, limit};
      choose(() => import('../commands/events.js'), name === undefined ? [] : [name], options);
    });

  addUsageVerbs(program, choose);

  program.commandsGroup('More:');

  program
    .command('worker')
    .description('run one specialist by hand: registers itself, serves, deregisters on exit')
    .requiredOption('--component <component>', 'component of the platform')
    .option('--port <port>', 'this port (default: allocated)', parsePort)
    .option('--provider <provider>', 'ollama, anthropic, auto or offline (default: auto)')
    .option('--model <model>', "model (default: the provider's)")
    .option('--name <name>', 'name (default: the component)')
    .action((_options, command: Commander) => {
      const {component = '', port, provider, model, name, namespace} = command.optsWithGlobals<Raw>();
      choose(() => import('../commands/worker.js'), [], {
        component,
        ...(port !== undefined && {port}),
        ...(provider !== undefined && {provider}),
        ...(model !== undefined && {model}),
        ...(name !== undefined && {name}),
        ...(namespace !== undefined && {namespace}),
      });
    });

  program
    .command('version')
    .description('print the version')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .action((_options, command: Commander) => {
      choose(() => import('../commands/version.js'), [], command.opts<{output: 'text' | 'json'}>());
    });
}
