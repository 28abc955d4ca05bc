/** The verbs that change what runs. */
import {Option} from 'commander';
import type {Command as Commander} from 'commander';
import {parseBoolean, parseDuration, parsePositive} from '../arguments.js';
import type {AgainstOptions, DeleteOptions, ReviewFormat, SteadyFlags} from '../options.js';
import type {Choose} from '../program.js';
import {addConfig} from './config.js';
import {fileOption, varOption} from './files.js';
import {addRollout} from './rollout.js';
import {addSourceVerbs} from './sources.js';

/** Options as commander hands them out; which of them a verb has is said beside it. */
interface Raw {
  readonly namespace?: string;
  readonly fleet?: string;
  readonly file: readonly string[];
  readonly var: Readonly<Record<string, string>>;
  readonly timeout: number;
  readonly yes?: true;
  readonly wait?: true;
  readonly dryRun?: true;
  readonly prune: boolean;
  readonly takeOver?: true;
  readonly ignoreWindows?: true;
  readonly detailedExitcode?: true;
  readonly out?: string;
  readonly git?: string;
  readonly branch?: string;
  readonly path?: string;
  readonly interval?: number;
  readonly name?: string;
  readonly against?: string;
  readonly stableFor: number;
  readonly ttl?: number;
  readonly all?: true;
  readonly failAfterCrashes?: number;
  readonly output: ReviewFormat;
}

const timeoutOption = (): Option =>
  new Option('--timeout <duration>', 'how long to wait').argParser(parseDuration).default(60_000, '60s');

const stableForOption = (): Option =>
  new Option('--stable-for <duration>', 'how long all has to stay Ready, within --timeout')
    .argParser(parseDuration)
    .default(0, 'a moment');

const failAfterCrashesOption = (): Option =>
  new Option('--fail-after-crashes <count>', 'end with 1 once a specialist has crashed so often').argParser(
    parsePositive,
  );

const ignoreWindowsOption = ['--ignore-windows', 'apply though a sync window is closed'] as const;

export function addChangingVerbs(program: Commander, choose: Choose): void {
  program.commandsGroup('Converge:');

  gitVerb(program, 'up', 'apply the file, keep it so in the background, and wait until all is Ready')
    .addOption(timeoutOption())
    .addOption(stableForOption())
    .addOption(failAfterCrashesOption())
    .addOption(
      new Option('--ttl <duration>', 'stop all of it, controller included, after this time; 0: never').argParser(
        parseDuration,
      ),
    )
    .option('--yes', 'confirm a mass prune')
    .option('--take-over', 'take a fleet over that was applied from another source')
    .option(...ignoreWindowsOption)
    .action((_options, command: Commander) => {
      const raw = command.optsWithGlobals<Raw>();
      const {timeout: timeoutMs, yes = false, takeOver = false, ignoreWindows = false, ttl: ttlMs} = raw;
      choose(() => import('../commands/up.js'), [], {
        ...files(raw),
        ...steady(raw, command),
        ...{timeoutMs, yes, takeOver, ignoreWindows},
        ...(ttlMs !== undefined && {ttlMs}),
      });
    });

  verb(program, 'down', 'stop the fleet and its controller; forgets nothing')
    .addOption(timeoutOption())
    .option('--all', 'every fleet of the state folder and its controller, whatever they are')
    .action((_options, command: Commander) => {
      const raw = command.optsWithGlobals<Raw>();
      if (raw.all && (raw.file.length > 0 || raw.fleet !== undefined || raw.namespace !== undefined)) {
        command.error('error: --all is every fleet: it goes with neither -f, nor -n, nor --fleet');
      }
      choose(() => import('../commands/down.js'), [], {...files(raw), timeoutMs: raw.timeout, all: raw.all ?? false});
    });

  gitVerb(program, 'apply', 'make it so once, with the controller where one runs')
    .option('--wait', 'wait until all is Ready')
    .addOption(timeoutOption())
    .addOption(stableForOption())
    .addOption(failAfterCrashesOption())
    .option('--dry-run', 'print the plan, change nothing')
    .option('--prune [boolean]', 'stop what the file no longer declares', parseBoolean, true)
    .option('--no-prune', 'leave running what the file no longer declares')
    .option('--yes', 'confirm a mass prune')
    .option('--take-over', 'take a fleet over that was applied from another source')
    .option(...ignoreWindowsOption)
    .option('--detailed-exitcode', 'end with 2 when something changed')
    .argument('[plan]', 'a plan that `plan --out` saved, instead of files')
    .action((plan: string | undefined, _options, command: Commander) => {
      const raw = command.optsWithGlobals<Raw>();
      choose(() => import('../commands/apply.js'), plan === undefined ? [] : [plan], {
        ...files(raw),
        ...steady(raw, command),
        wait: raw.wait ?? raw.stableFor > 0,
        timeoutMs: raw.timeout,
        dryRun: raw.dryRun ?? false,
        prune: raw.prune,
        yes: raw.yes ?? false,
        takeOver: raw.takeOver ?? false,
        ignoreWindows: raw.ignoreWindows ?? false,
        detailedExitcode: raw.detailedExitcode ?? false,
      });
    });

  gitVerb(program, 'run', 'apply and keep it so in the foreground')
    .option(...ignoreWindowsOption)
    .action((_options, command: Commander) => {
      const raw = command.optsWithGlobals<Raw>();
      choose(() => import('../commands/run.js'), [], {...files(raw), ignoreWindows: raw.ignoreWindows ?? false});
    });

  program
    .command('delete')
    .description('stop and forget a specialist that no file declares any more')
    .argument('<name>', 'name, ai id, or namespace/name')
    .action((name: string, _options, command: Commander) => {
      const raw = command.optsWithGlobals<Raw>();
      const options: DeleteOptions = scope(raw);
      choose(() => import('../commands/delete.js'), [name], options);
    });

  addRollout(program, choose);
  addSourceVerbs(program, choose);

  // The background process that `up` starts.
  program.command('controller', {hidden: true}).action(() => {
    choose(() => import('../commands/controller.js'), [], undefined);
  });

  program.commandsGroup('Look before you leap:');

  gitVerb(program, 'plan', 'print what apply would do')
    .addOption(againstOption())
    .addOption(reviewOption())
    .option('--detailed-exitcode', 'end with 2 when something would change')
    .option('--out <file>', 'save it, for a later `apply <file>` that refuses it if anything has moved on')
    .action((_options, command: Commander) => {
      const raw = command.optsWithGlobals<Raw>();
      const {detailedExitcode = false, out, against, output} = raw;
      if (out !== undefined && against !== undefined) {
        command.error('error: --out saves what would be done here, which --against does not look at');
      }
      const options = {...files(raw), verb: 'plan' as const, detailedExitcode, output};
      if (against !== undefined) return chooseAgainst(choose, {...options, against});
      choose(() => import('../commands/diff.js'), [], {...options, ...(out !== undefined && {out})});
    });

  gitVerb(program, 'diff', 'the same; ends with 0 same, 1 differs, above 1 error')
    .addOption(againstOption())
    .addOption(reviewOption())
    .action((_options, command: Commander) => {
      const raw = command.optsWithGlobals<Raw>();
      const options = {...files(raw), verb: 'diff' as const, detailedExitcode: false, output: raw.output};
      if (raw.against !== undefined) return chooseAgainst(choose, {...options, against: raw.against});
      choose(() => import('../commands/diff.js'), [], options);
    });

  verb(program, 'validate', 'check the file, change nothing')
    .addOption(reviewOption())
    .action((_options, command: Commander) => {
      const raw = command.optsWithGlobals<Raw>();
      choose(() => import('../commands/validate.js'), [], {...files(raw), output: raw.output});
    });

  addConfig(program, choose);
}

const againstOption = (): Option =>
  new Option('--against <ref|path>', 'compare with what is declared in a git branch, tag or commit, or in other files');

const reviewFormats: readonly ReviewFormat[] = ['text', 'markdown', 'github', 'json', 'junit', 'sarif', 'gitlab'];

const reviewOption = (): Option =>
  new Option('-o, --output <format>', 'how to print').choices(reviewFormats).default('text');

function chooseAgainst(choose: Choose, options: AgainstOptions): void {
  choose(() => import('../commands/diff-against.js'), [], options);
}

/** A verb that reads fleet files. */
function verb(program: Commander, name: string, description: string): Commander {
  return program.command(name).description(description).addOption(fileOption()).addOption(varOption());
}

function steady({stableFor: stableForMs, failAfterCrashes, timeout}: Raw, command: Commander): SteadyFlags {
  if (stableForMs > timeout) {
    const [wanted, given] = [stableForMs / 1000, timeout / 1000];
    command.error(`error: --stable-for of ${wanted}s does not fit into a --timeout of ${given}s`);
  }
  return {stableForMs, ...(failAfterCrashes !== undefined && {failAfterCrashes})};
}

/** A verb that reads fleet files, or follows a repository. */
function gitVerb(program: Commander, name: string, description: string): Commander {
  return verb(program, name, description)
    .option('--git <url>', 'a git repository to follow')
    .option('--branch <name>', "with --git: the branch (default: the remote's)")
    .option('--path <path>', 'with --git: file or folder in it (default: its top)')
    .addOption(new Option('--interval <duration>', 'with --git: time between two looks').argParser(parseDuration))
    .option('--name <name>', 'with --git: name of the git source (default: from the address)')
    .hook('preAction', command => {
      const {git, branch, path, interval, name: given} = command.opts<Partial<Raw>>();
      if (git === undefined && [branch, path, interval, given].some(option => option !== undefined)) {
        command.error('error: --branch, --path, --interval and --name belong to --git');
      }
      if (interval !== undefined && interval < 1000) command.error('error: --interval must be 1s or more');
    });
}

function files(raw: Raw) {
  const {git: url, branch, path, interval, name} = raw;
  const git = url !== undefined && {
    url,
    ...(branch !== undefined && {branch}),
    ...(path !== undefined && {path}),
    ...(interval !== undefined && {intervalSeconds: interval / 1000}),
    ...(name !== undefined && {name}),
  };
  return {
    ...scope(raw),
    files: raw.file,
    ...(Object.keys(raw.var).length > 0 && {variables: raw.var}),
    ...(git && {git}),
  };
}

function scope({namespace, fleet}: Raw) {
  return {...(namespace !== undefined && {namespace}), ...(fleet !== undefined && {fleet})};
}
