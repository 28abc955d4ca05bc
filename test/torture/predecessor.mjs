/**
 * The predecessor's registry client, as far as it can hurt: its constructor unlinks lock files that are older than a
 * minute. With `writes` it also changes the registry its own way: reads it, and writes it in place, under locks that
 * mean nothing to us.
 *
 *   node predecessor.mjs '{"home", "log", "seed", "writes"}'
 */
import {existsSync, mkdirSync, readFileSync, statSync, unlinkSync, utimesSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {now, openLog} from './oplog.mjs';
import {stream} from './random.mjs';

const order = JSON.parse(process.argv[2]);
const log = openLog(order.log);
const random = stream(order.seed, 'predecessor');
const registry = join(order.home, 'platform_ai_registry.json');
const locks = ['.registration.lock', '.port_allocation.lock'].map(name => join(order.home, name));
let stopping = false;
mkdirSync(order.home, {recursive: true, mode: 0o700});
let constructed = 0;
let wrote = 0;
process.stdin.resume().once('end', () => (stopping = true));

while (!stopping) {
  construct();
  if (order.writes && random.chance(0.3)) write();
  await delay(random.between(1, 40));
}
log({predecessor: true, constructed, wrote, at: now()});
process.exit(0);

function construct() {
  constructed++;
  for (const lock of locks) {
    try {
      cleanUp(lock);
    } catch (error) {
      // Another of its kind was quicker.
      if (error.code !== 'ENOENT') throw error;
    }
  }
}

function cleanUp(lock) {
  if (!existsSync(lock)) {
    writeFileSync(lock, '');
    // Nobody waits a minute here: it is old at once, and goes the next time.
    const longAgo = new Date(Date.now() - 61_000);
    utimesSync(lock, longAgo, longAgo);
  } else if (statSync(lock).isFile() && Date.now() - statSync(lock).mtimeMs > 60_000) {
    unlinkSync(lock);
  }
}

/** A port outside of everybody's range: only its way of writing is to do harm here. */
function write() {
  let registered = {};
  try {
    registered = JSON.parse(readFileSync(registry, 'utf8'));
  } catch {
    // As the original: a registry that can't be read is an empty one.
  }
  const entry = {component: 'old', metadata: {description: 'old', pid: process.pid}, registered_at: Date.now() / 1000};
  // Each has ports of its own: it looks for no others, and a port twice would be its fault.
  const index = random.int(0, 4);
  registered[`old-${index}-ai`] = {port: 9_000 + 200 * index + random.int(0, 199), ...entry};
  writeFileSync(registry, JSON.stringify(registered, undefined, 2));
  wrote++;
}
