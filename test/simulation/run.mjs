/**
 * The simulator on the command line: bundles test/simulation, so that TypeScript runs plain, and runs seeds on worker threads.
 *
 *   npm run simulate -- --runs 100000 [--seed S] [--workers 2]
 *   npm run simulate -- --seed 123 [--shrunk "i:1,4;s:athena"] [--trace]
 *   npm run simulate -- --mutants
 */
import {cpus, tmpdir} from 'node:os';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath, pathToFileURL} from 'node:url';
import {parseArgs} from 'node:util';
import {Worker} from 'node:worker_threads';
import {build} from 'esbuild';
import {mutants, mutated} from './mutants.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const {values: flags} = parseArgs({
  options: {
    runs: {type: 'string'},
    seed: {type: 'string'},
    workers: {type: 'string'},
    shrunk: {type: 'string'},
    trace: {type: 'boolean', default: false},
    mutants: {type: 'boolean', default: false},
    only: {type: 'string'},
  },
});
const folder = mkdtempSync(join(tmpdir(), 'tekton-simulate-'));
process.on('exit', () => rmSync(folder, {recursive: true, force: true}));
const threads = Number(flags.workers ?? Math.min(2, cpus().length));

if (flags.mutants) await tryMutants();
else if (flags.runs === undefined && flags.seed !== undefined) await replay(Number(flags.seed));
else await explore();

async function bundle(name, plugins = []) {
  const outdir = join(folder, name);
  await build({
    entryPoints: {
      thread: join(here, 'thread.ts'),
      shrink: join(here, 'shrink.ts'),
      simulate: join(here, 'simulate.ts'),
    },
    outdir,
    outExtension: {'.js': '.mjs'},
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    packages: 'external',
    logLevel: 'warning',
    plugins,
  });
  return outdir;
}

/** Runs seeds from `from` on; resolves with all that was reported. */
function runSeeds(outdir, {from, count, untilFailure = false, deadlineMs, told = () => undefined}) {
  const reports = new Map();
  const failures = [];
  const workers = [];
  const done = Array.from({length: threads}, (_, i) => {
    const share = Math.floor(count / threads) + (i < count % threads ? 1 : 0);
    const order = {from: from + i, every: threads, count: share, untilFailure, deadlineMs};
    return new Promise((resolve, reject) => {
      const worker = new Worker(join(outdir, 'thread.mjs'), {workerData: order});
      workers.push(worker);
      worker.on('message', report => {
        reports.set(i, report);
        failures.push(...report.failures);
        told(sum([...reports.values()]), failures);
        if (report.type === 'end') resolve();
        if (untilFailure && failures.length > 0) for (const other of workers) void other.terminate();
      });
      worker.on('error', reject);
      worker.on('exit', resolve);
    });
  });
  return Promise.all(done).then(() => ({...sum([...reports.values()]), failures}));
}

function sum(reports) {
  const total = {runs: 0, steps: 0, simulatedMs: 0, happened: {}};
  for (const {runs, steps, simulatedMs, happened} of reports) {
    total.runs += runs;
    total.steps += steps;
    total.simulatedMs += simulatedMs;
    for (const [kind, times] of Object.entries(happened)) total.happened[kind] = (total.happened[kind] ?? 0) + times;
  }
  return total;
}

async function explore() {
  const outdir = await bundle('plain');
  const from = flags.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(flags.seed);
  const count = Number(flags.runs ?? 2000);
  const began = performance.now();
  const cpuBefore = process.cpuUsage();
  console.log(`${count} runs from seed ${from} on ${threads} threads`);
  let shown = began;
  let named = 0;
  const result = await runSeeds(outdir, {
    from,
    count,
    told: ({runs}, failures) => {
      for (const {seed, text} of failures.slice(named)) console.log(`  seed ${seed}: ${text.split('\n')[0]}`);
      named = failures.length;
      if (performance.now() - shown < 10_000) return;
      shown = performance.now();
      console.log(`  ${runs} runs, ${failures.length} failed`);
    },
  });
  const seconds = (performance.now() - began) / 1000;
  const {user, system} = process.cpuUsage(cpuBefore);
  const {runs, steps, simulatedMs, happened, failures} = result;
  printCoverage(happened);
  console.log(
    `${runs} runs in ${seconds.toFixed(1)} s: ${Math.round((runs / seconds) * 60)} a minute, ` +
      `${((user + system) / 1000 / runs).toFixed(2)} ms of CPU each, ${Math.round(steps / runs)} steps each, ` +
      `${Math.round(simulatedMs / 3_600_000)} hours simulated`,
  );
  const byRule = Map.groupBy ? Map.groupBy(failures, ({rule}) => rule) : groupBy(failures);
  for (const [rule, found] of byRule)
    console.log(
      `${found.length} × ${rule}: ${found
        .slice(0, 5)
        .map(f => f.seed)
        .join(' ')}`,
    );
  const {shrink, keepText} = await import(pathToFileURL(join(outdir, 'shrink.mjs')).href);
  for (const [, [first]] of byRule) {
    const shrunk = await shrink(first.seed);
    if (shrunk) console.log(`${replayLine(first.seed, keepText(shrunk.keep))}  # ${shrunk.outcome.violation?.text}`);
  }
  if (failures.length > 0) process.exitCode = 1;
}

function groupBy(failures) {
  const groups = new Map();
  for (const failure of failures) groups.set(failure.rule, [...(groups.get(failure.rule) ?? []), failure]);
  return groups;
}

function printCoverage(happened) {
  const kinds = Object.keys(happened).filter(kind => !kind.includes('×'));
  for (const kind of kinds.sort()) {
    const crossed = Object.entries(happened)
      .filter(([key]) => key.startsWith(`${kind} × `))
      .map(([key, times]) => `${key.slice(kind.length + 3)} ${times}`);
    console.log(`  ${kind}: ${happened[kind]} (${crossed.join(', ')})`);
  }
}

function replayLine(seed, keep) {
  return `npm run simulate -- --seed ${seed} --shrunk "${keep}"`;
}

async function replay(seed) {
  const outdir = await bundle('plain');
  const {simulate} = await import(pathToFileURL(join(outdir, 'simulate.mjs')).href);
  const {shrink, keepText, parseKeep} = await import(pathToFileURL(join(outdir, 'shrink.mjs')).href);
  const keep = flags.shrunk === undefined ? undefined : parseKeep(flags.shrunk);
  const outcome = await simulate({seed, trace: flags.trace, ...(keep && {keep})});
  if (flags.trace) console.log(outcome.lines.join('\n'));
  console.log(
    `seed ${seed}: ${outcome.violation?.text ?? 'nothing is wrong'} (${outcome.steps} steps, trace ${outcome.hash.toString(16)})`,
  );
  if (!outcome.violation) return;
  process.exitCode = 1;
  if (keep) return;
  const shrunk = await shrink(seed);
  if (shrunk) console.log(replayLine(seed, keepText(shrunk.keep)));
}

/** What fresh seeds find in ten thousands of runs only, a seed that has found it once finds at once. */
async function bySeedOfOld(outdir) {
  const {simulate} = await import(pathToFileURL(join(outdir, 'simulate.mjs')).href);
  for (const {seed} of JSON.parse(readFileSync(join(here, 'regressions.json'), 'utf8'))) {
    const {violation} = await simulate({seed});
    if (violation) return {seed, text: `(a regression seed) ${violation.text}`};
  }
  return undefined;
}

/** Each mutant is the real code with one thing broken: the simulator has to notice. */
async function tryMutants() {
  const count = Number(flags.runs ?? 6000);
  const from = Number(flags.seed ?? 1);
  const {simulate} = await import(pathToFileURL(join(await bundle('plain'), 'simulate.mjs')).href);
  let missed = 0;
  for (const mutant of mutants) {
    if (flags.only !== undefined && !mutant.name.includes(flags.only)) continue;
    const outdir = await bundle(mutant.name.replace(/\W+/g, '-'), [mutated(mutant)]);
    let found;
    let runs = 0;
    while (found === undefined && runs < count) {
      const result = await runSeeds(outdir, {from: from + runs, count: count - runs, untilFailure: true});
      const [first] = result.failures;
      if (first === undefined) break;
      runs = first.seed - from + 1;
      // What fails without the mutant, too, shows nothing.
      const plain = await simulate({seed: first.seed});
      if (!plain.violation) found = first;
    }
    const {name} = mutant;
    if (!found) found = await bySeedOfOld(outdir);
    if (found) console.log(`caught  ${name}: seed ${found.seed} after ${runs} runs: ${found.text.split('\n')[0]}`);
    else console.log(`MISSED  ${name} in ${count} runs`);
    if (!found) missed += 1;
  }
  if (missed > 0) process.exitCode = 1;
}
