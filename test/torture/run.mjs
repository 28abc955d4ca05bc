/**
 * Tortures the built product with random schedules from a seed, and checks what must hold whatever happens.
 *
 *   npm run torture -- [--scenario NAME]… [--seconds 60] [--seed N] [--small] [--without FAULT]… [--keep] [--package DIR]
 *
 * `--seconds` is for each scenario. `--without` leaves out one kind of fault of the scenario `fleet`; all others come as
 * they would. `--keep` keeps the state folders and logs of what went well, too.
 *
 * Exit code 0: every invariant held. 1: one didn't; its history and the seed are printed, and the state folder is kept.
 */
import {existsSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join, resolve} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import * as fleetScenarios from './fleet-scenarios.mjs';
import * as registryScenarios from './registry-scenarios.mjs';
import {storm} from './storm.mjs';

const {values} = parseArgs({
  options: {
    seconds: {type: 'string'},
    seed: {type: 'string'},
    scenario: {type: 'string', multiple: true},
    keep: {type: 'boolean', default: false},
    small: {type: 'boolean', default: false},
    without: {type: 'string', multiple: true, default: []},
    package: {type: 'string'},
  },
});

const scenarios = {...registryScenarios, ...fleetScenarios, storm};
/** Small: what a test suite has time for. */
const scale = values.small
  ? {writers: 8, readers: 1, entries: 200, convergeMs: 30_000}
  : {writers: 32, readers: 3, entries: 1_000, convergeMs: 120_000};
const smallSeconds = {registry: 5, predecessor: 2, corruption: 3, fleet: 5, clients: 3, storm: 4};
const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = resolve(values.package ?? process.env.TEKTON_AI_PACKAGE ?? root);
if (!existsSync(join(folder, 'dist/index.js'))) fail(`${folder}/dist is missing: build first, with npm run build`);
const names = values.scenario ?? Object.keys(scenarios);
for (const name of names)
  if (!(name in scenarios)) fail(`no scenario ${name}; there are ${Object.keys(scenarios).join(', ')}`);
const seed = values.seed ?? String(Math.floor(Math.random() * 1e9));

/** What ends the processes of the scenario that is being played. */
const cleanups = [];
for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => void abandon(`ended by ${name}`));
process.once('uncaughtException', error => void abandon(error.stack));
process.once('unhandledRejection', error => void abandon(error?.stack ?? String(error)));

let failed = false;
for (const name of names) failed = !(await play(name)) || failed;
process.exit(failed ? 1 : 0);

async function play(name) {
  const seconds = Number(values.seconds ?? (values.small ? smallSeconds[name] : 60));
  const base = mkdtempSync(join(tmpdir(), 'tk-torture-'));
  const world = {
    ...scale,
    seed: `${seed}/${name}`,
    seconds,
    small: values.small,
    without: values.without,
    longFreezes: seconds < 12 ? 0 : Math.max(1, Math.round(seconds / 30)),
    package: folder,
    folder: base,
    home: join(base, 's'),
    host: privateHost(),
    atEnd: cleanup => cleanups.push(cleanup),
  };
  process.stdout.write(`${name}: seed ${seed}, ${seconds} s\n`);
  let result;
  try {
    result = await scenarios[name](world);
  } catch (error) {
    result = {violations: [{violation: 'the scenario failed', error: error.stack}], facts: {}};
  } finally {
    await cleanUp();
  }
  process.stdout.write(`${name}: ${JSON.stringify(result.facts)}\n`);
  if (result.violations.length === 0) {
    if (!values.keep) rmSync(base, {recursive: true, force: true});
    return true;
  }
  report(name, base, result.violations);
  return false;
}

/** An address of the loopback network that is this run's alone: no stranger is ever on its ports (Linux). */
function privateHost() {
  return `127.${1 + ((process.pid >> 8) % 250)}.${process.pid % 250}.1`;
}

function report(name, base, violations) {
  const kinds = new Map();
  for (const {violation} of violations) kinds.set(violation, (kinds.get(violation) ?? 0) + 1);
  const file = join(base, 'violations.json');
  writeFileSync(file, JSON.stringify(violations, undefined, 2));
  const shown = [...kinds.keys()].map(kind => violations.find(({violation}) => violation === kind));
  process.stdout.write(
    [
      `${name}: FAILED with seed ${seed}; the state is kept in ${base}`,
      ...[...kinds].map(([kind, count]) => `  ${count} × ${kind}`),
      ...shown.flatMap(({history = [], ...violation}) => [
        JSON.stringify(violation),
        ...history.map(line => `    ${JSON.stringify(line).slice(0, 400)}`),
      ]),
      `everything: ${file}`,
      `again: npm run torture -- --seed ${seed} --scenario ${name}${values.small ? ' --small' : ''}`,
      '',
    ].join('\n'),
  );
}

async function cleanUp() {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
}

async function abandon(reason) {
  await cleanUp();
  fail(`${reason} (seed ${seed})`);
}

function fail(message) {
  process.stderr.write(`error: ${message}\n`);
  process.exit(1);
}
