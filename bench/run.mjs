/**
 * `npm run bench [-- --specialists 100 --rounds 3 --only fleet|registry|chat|gitops]`: what we claim, measured side by side in
 * one run. Every figure stands beside its floor from the same machine at the same time; writes BENCHMARK.md and
 * benchmark.json.
 */
import {spawnSync} from 'node:child_process';
import {readFileSync, writeFileSync} from 'node:fs';
import {cpus} from 'node:os';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {chatBench, chatText} from './chat.mjs';
import {bareServers, nodeStart} from './floor.mjs';
import {Fleet} from './fleet.mjs';
import {gitopsBench, gitopsText} from './gitops.mjs';
import {registryBench, registryText} from './registry.mjs';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const {values} = parseArgs({
  options: {
    specialists: {type: 'string', default: '100'},
    rounds: {type: 'string', default: '3'},
    only: {type: 'string'},
  },
});
const machine = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, Node ${process.versions.node}, ${process.platform}`;

const {status} = spawnSync(process.execPath, ['scripts/build.mjs'], {stdio: 'inherit'});
if (status !== 0) process.exit(1);

/** What `--only` leaves out stays as it was measured last. */
const before = JSON.parse(readFileSync('benchmark.json', 'utf8'));
const wanted = part => values.only === undefined || values.only === part;
const fleet = wanted('fleet') ? await fleetBench(Number(values.specialists), Number(values.rounds)) : before;
const registry = wanted('registry') ? {machine, ...(await registryBench())} : before.registry;
const chat = wanted('chat') ? {machine, ...(await chatBench())} : before.chat;
const gitops = wanted('gitops') ? {machine, ...(await gitopsBench())} : before.gitops;
const text = [
  ...fleetText(fleet),
  ...(registry === undefined ? [] : registryText(registry)),
  ...(chat === undefined ? [] : chatText(chat)),
  ...(gitops === undefined ? [] : gitopsText(gitops)),
].join('\n');
writeFileSync('BENCHMARK.md', text);
writeFileSync('benchmark.json', `${JSON.stringify({...fleet, registry, chat, gitops}, null, 2)}\n`);
process.stdout.write(text);

async function fleetBench(count, rounds) {
  const samples = {};
  const take = (name, ms) => (samples[name] ??= []).push(ms);

  for (let round = 1; round <= rounds; round++) {
    process.stderr.write(`round ${round} of ${rounds}\n`);
    take('node -e 0', nodeStart());
    take('bare servers', await bareServers(count));
    const fleet = new Fleet(count);
    try {
      take('apply --wait', fleet.apply());
      const pids = fleet.pids();
      take('apply, nothing to change', fleet.apply());
      if (JSON.stringify(fleet.pids()) !== JSON.stringify(pids))
        throw new Error('an apply without changes restarted something');
      take('get', fleet.time('get'));
      take('diff', fleet.time('diff', '-f', fleet.file));
      take('up, all adopted', fleet.up());
      if (JSON.stringify(fleet.pids()) !== JSON.stringify(pids)) throw new Error('an adoption restarted something');
      for (let i = 0; i < 5; i++) take('kill -9 → Ready', await fleet.killOne(i));
      for (let i = 0; i < 5; i++) take('edit → reconfigured', await fleet.edit(i));
      take('controller kill -9 → adopted', await fleet.replaceController());
      for (const us of await fleet.pings(2000)) take('ping, µs', us);
      const {rssMb, workerMb} = fleet.memory();
      take('controller RSS, MB', rssMb);
      take('worker USS, MB', workerMb);
    } finally {
      fleet.remove();
    }
  }

  const median = list => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
  const at = (name, q) => [...samples[name]].sort((a, b) => a - b)[Math.floor((samples[name].length - 1) * q)];
  const m = name => median(samples[name]);

  const rows = [
    row(
      `${count} specialists, nothing → Ready (apply --wait)`,
      m('apply --wait'),
      `${count} bare Node servers`,
      m('bare servers'),
      2,
    ),
    row(
      'apply with nothing to change (0 restarts, PIDs kept)',
      m('apply, nothing to change'),
      'node -e 0',
      m('node -e 0'),
    ),
    row(`get of ${count}`, m('get'), 'node -e 0', m('node -e 0')),
    row(`diff of ${count}`, m('diff'), 'node -e 0', m('node -e 0')),
    row('kill -9 of a worker → Ready again', m('kill -9 → Ready'), 'node -e 0', m('node -e 0')),
    row('edit saved → worker reconfigured (50 ms debounce)', m('edit → reconfigured'), 'bar: 150 ms', 150),
    row(
      `controller kill -9 → started again, ${count} adopted`,
      m('controller kill -9 → adopted'),
      'bar: 1000 ms',
      1000,
    ),
  ];
  const facts = [
    `ping, one connection: p50 ${at('ping, µs', 0.5).toFixed(0)} µs, p99 ${at('ping, µs', 0.99).toFixed(0)} µs`,
    `controller with ${count} idle specialists: ${m('controller RSS, MB').toFixed(0)} MB RSS`,
    `memory of its own (USS) per idle specialist: ${m('worker USS, MB').toFixed(1)} MB`,
  ];

  return {machine, rounds, count, rows, facts};
}

function row(what, ms, beside, floorMs, bar) {
  return {
    what,
    ms: Math.round(ms),
    beside,
    floorMs: Math.round(floorMs),
    ratio: Math.round((ms / floorMs) * 100) / 100,
    ...(bar && {bar}),
  };
}

function fleetText({machine, rounds, rows, facts}) {
  const table = rows.map(
    r => `| ${r.what} | ${r.ms} ms | ${r.beside} | ${r.floorMs} ms | ${r.ratio}${r.bar ? ` (bar ${r.bar})` : ''} |`,
  );
  return [
    '# Benchmark',
    '',
    `Medians of ${rounds} rounds, each figure beside its floor in the same run. ${machine}.`,
    '`npm run bench` writes this file.',
    '',
    '| what | measured | beside | floor | ratio |',
    '|---|---|---|---|---|',
    ...table,
    '',
    ...facts.map(fact => `- ${fact}`),
    '',
  ];
}
