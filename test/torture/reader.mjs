/**
 * Reads the registry in a loop, as any program does (the bare file) and through the library, until its standard input
 * ends. With `whole`, each reading of the bare file must be whole.
 *
 *   node reader.mjs '{"package", "home", "log", "seed", "slot", "ids", "whole"}'
 */
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {pathToFileURL} from 'node:url';
import {now, openLog} from './oplog.mjs';
import {stream} from './random.mjs';

const order = JSON.parse(process.argv[2]);
const {RegistryClient} = await import(pathToFileURL(join(order.package, 'dist/index.js')).href);
const log = openLog(order.log);
const client = new RegistryClient({home: order.home});
const random = stream(order.seed, 'reader', order.slot);
const file = join(order.home, 'platform_ai_registry.json');
let stopping = false;
process.stdin.resume().once('end', () => (stopping = true));

while (!stopping) {
  if (order.whole) readBare();
  await readList();
  await delay(random.between(2, 30));
}
process.exit(0);

function readBare() {
  let text = '';
  try {
    text = readFileSync(file, 'utf8');
    checkPorts(Object.entries(JSON.parse(text)));
  } catch (error) {
    if (error.code === 'ENOENT') return; // nobody has registered yet
    log({violation: 'a reader saw a torn file', message: String(error), text: text.slice(-300), at: now()});
  }
}

async function readList() {
  const from = now();
  const list = await client.list();
  const to = now();
  log({list: list.length, from, to});
  if (order.whole) checkPorts(list.map(entry => [entry.aiId, entry]));
  const tokens = new Map(list.map(({aiId, metadata}) => [aiId, metadata.token]));
  for (let n = 0; n < 5; n++) {
    const aiId = random.pick(order.ids);
    log({read: aiId, token: tokens.get(aiId) ?? null, from, to});
  }
}

function checkPorts(entries) {
  const holders = new Map();
  for (const [aiId, {port, component}] of entries) {
    const other = holders.get(port);
    if (other !== undefined) log({violation: 'a reader saw a port twice', port, by: [other, aiId], at: now()});
    if (typeof component !== 'string') log({violation: 'a reader saw half an entry', aiId, at: now()});
    holders.set(port, aiId);
  }
}
