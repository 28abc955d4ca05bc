/** What a fleet holds on to while it is left in peace. Compared with a quiet one's it shows what a storm has left behind. */
import {readFileSync, readdirSync} from 'node:fs';
import {setTimeout as delay} from 'node:timers/promises';
import {descriptorsOf, processesOf, workersOf, zombiesOf} from './worker-processes.mjs';

const looks = 8;
const lookEveryMs = 150;

/**
 * Looks several times, for probes, locks and temporary files come and go: what it holds is what is there at every look.
 *
 * @returns how many of each kind: `files` of the state folder, descriptors of the `controller`, and of that `worker` which
 * has most of a kind; sockets that listen on `host` by port; zombies.
 */
export async function holdings({home, host}) {
  let held;
  for (let look = 0; look < looks; look++) {
    const seen = lookOnce(home, host);
    held = held === undefined ? seen : atBoth(held, seen);
    await delay(lookEveryMs);
  }
  return held;
}

function lookOnce(home, host) {
  const workers = new Set(workersOf(home).map(({pid}) => pid));
  const controllers = processesOf(home).filter(({pid}) => !workers.has(pid));
  const most = {};
  for (const pid of workers) {
    for (const [kind, count] of Object.entries(kindsOf(pid, home))) most[kind] = Math.max(most[kind] ?? 0, count);
  }
  return {
    files: filesOf(home),
    controller: countsOf(controllers.flatMap(({pid}) => listOf(kindsOf(pid, home)))),
    worker: most,
    listening: countsOf(portsOn(host)),
    zombies: countsOf(controllers.flatMap(({pid}) => zombiesOf(pid))),
  };
}

function atBoth(a, b) {
  return Object.fromEntries(Object.entries(a).map(([what, counts]) => [what, least(counts, b[what])]));
}

function least(a, b) {
  const both = Object.keys(a).filter(kind => kind in b);
  return Object.fromEntries(both.map(kind => [kind, Math.min(a[kind], b[kind])]));
}

/** Of several quiet fleets' holdings the most of each kind. */
export function most(...list) {
  const merged = {};
  for (const one of list) {
    for (const [what, counts] of Object.entries(one)) {
      merged[what] ??= {};
      for (const [kind, count] of Object.entries(counts)) merged[what][kind] = Math.max(merged[what][kind] ?? 0, count);
    }
  }
  return merged;
}

/** What is kept on purpose: damaged files for a person to look at, as many as were damaged, and what was rotated away. */
const kept = /^(platform_ai_registry\.json\.(corrupt|aside)-.*|events\.1\.jsonl|logs\/.*\.1\.log)$/;

/** @returns violations: of which kind there is more than a quiet fleet has. */
export function leaks(now, quiet) {
  return Object.entries(now).flatMap(([what, counts]) =>
    Object.entries(counts).flatMap(([kind, count]) => {
      const usual = quiet[what][kind] ?? 0;
      if (count <= usual || (what === 'files' && kept.test(kind))) return [];
      return [{violation: 'leaked', what, kind, count, usual}];
    }),
  );
}

/**
 * By name without what is another at each launch; a worker's control socket has one of two names. Counters of days that
 * are over are kept on purpose.
 */
function filesOf(home) {
  const today = new Date().toISOString().slice(0, 10);
  const entries = readdirSync(home, {recursive: true, withFileTypes: true});
  return countsOf(
    entries
      .filter(entry => !entry.isDirectory() || entry.name.endsWith('.lock'))
      .map(({parentPath, name}) => `${parentPath}/${name}`.slice(home.length + 1))
      .filter(name => !/^usage\/.*\.json$/.test(name) || name.includes(`/${today}.`))
      .map(name => name.replace(/^(usage\/.*-ai)\/.*\.json$/, '$1'))
      .map(name => name.replace(/^(run\/.*-ai)\.[0-9a-f]{8}\.sock$/, '$1.sock')),
  );
}

function kindsOf(pid, home) {
  return countsOf(
    descriptorsOf(pid).map(link =>
      link
        .replace(/^(socket|pipe):\[\d+\]$/, '$1')
        .replace(`${home}/`, '')
        .replace(/^logs\/.*/, 'log'),
    ),
  );
}

/** TCP ports on which somebody listens at an IPv4 address. */
export function portsOn(host) {
  const address = Buffer.from(host.split('.').map(Number).reverse()).toString('hex').toUpperCase();
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .map(line => line.trim().split(/\s+/))
    .filter(([, local, , state]) => state === '0A' && local.startsWith(`${address}:`))
    .map(([, local]) => Number.parseInt(local.split(':')[1], 16));
}

function countsOf(names) {
  const counts = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function listOf(counts) {
  return Object.entries(counts).flatMap(([kind, count]) => Array.from({length: count}, () => kind));
}
