/** Chats through a specialist, beside the same calls made of the model server directly. */
import {spawn, spawnSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {Agent, request} from 'node:http';
import {connect} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const program = 'dist/tekton-ai.js';

/** @returns what `npm run bench` keeps under `chat`: rows with their bars, as the fleet's have them */
export async function chatBench({chats = 100_000} = {}) {
  const model = spawn(process.execPath, ['bench/model-server.mjs'], {stdio: ['ignore', 'pipe', 'inherit']});
  const modelPort = await new Promise(resolve => model.stdout.once('data', data => resolve(Number(data))));
  let bench;
  try {
    bench = new Specialists(modelPort);
    const [streaming, quiet] = bench.ports();
    const through = new Caller(streaming);
    const direct = new Caller(modelPort);
    // Both sides warm: the first call of a worker loads its provider.
    for (const caller of [through, direct]) await caller.streams(20, '20 tokens every 1 ms', 5);

    const first = await firstTokens(through, direct);
    const one = await rates(through, direct, {streams: 1, tokens: 500, everyMs: 5});
    const hundred = await rates(through, direct, {streams: 100, tokens: 150, everyMs: 20});
    const ping = await pings(quiet.port, 5_000);
    const idle = await idleConnections(quiet, 1_000);
    const flat = await memoryOver(quiet, chats);
    return {
      rows: [
        {what: 'first token through a specialist, p50', value: first.added, unit: 'ms more than direct', bar: '≤ 2'},
        {what: 'tokens/s, 1 stream of 200/s', value: one.ratio, unit: `× direct (${one.through}/s)`, bar: '≥ 0.97'},
        {
          what: 'tokens/s, 100 streams of 50/s',
          value: hundred.ratio,
          unit: `× direct (${hundred.through}/s)`,
          bar: '≥ 0.97',
        },
        {what: 'ping on one connection, p50', value: ping, unit: 'µs', bar: '≤ 60'},
        {what: '1,000 idle connections', value: idle, unit: 'MB', bar: '≤ 25'},
        {what: `memory after ${chats} chats, against a tenth of them`, value: flat, unit: 'MB more', bar: 'flat'},
      ],
    };
  } finally {
    model.kill();
    bench?.remove();
  }
}

export function chatText({rows}) {
  const lines = rows.map(({what, value, unit, bar}) => `| ${what} | ${value} ${unit} | ${bar} |`);
  return ['## Chats', '', '| what | measured | bar |', '|---|---|---|', ...lines, ''];
}

/** Alternating, so that whatever the machine does meanwhile meets both. */
async function firstTokens(through, direct) {
  const times = {through: [], direct: []};
  for (let n = 0; n < 200; n++) {
    times.direct.push((await direct.stream('2 tokens every 1 ms')).firstMs);
    times.through.push((await through.stream('2 tokens every 1 ms')).firstMs);
  }
  return {added: round(median(times.through) - median(times.direct), 2)};
}

/** The best of three of each: a rate can only be spoiled. */
async function rates(through, direct, {streams, tokens, everyMs}) {
  const best = {through: 0, direct: 0};
  for (let n = 0; n < 3; n++) {
    for (const [name, caller] of Object.entries({direct, through})) {
      const start = performance.now();
      const counted = await caller.streams(streams, `${tokens} tokens every ${everyMs} ms`, streams);
      best[name] = Math.max(best[name], counted / ((performance.now() - start) / 1000));
    }
  }
  return {through: Math.round(best.through), ratio: round(best.through / best.direct, 3)};
}

async function pings(port, times) {
  const socket = connect({host: '127.0.0.1', port, noDelay: true});
  await new Promise(resolve => socket.once('connect', resolve));
  const us = [];
  for (let i = 0; i < times; i++) {
    const start = process.hrtime.bigint();
    socket.write('{"type":"ping"}\n');
    await new Promise(resolve => socket.once('data', resolve));
    us.push(Number(process.hrtime.bigint() - start) / 1000);
  }
  socket.destroy();
  return Math.round(median(us));
}

/** Half of either protocol, each after one request. Linux only, as all that reads /proc. */
async function idleConnections({port, pid}, count) {
  await ask(port, 1, 1);
  const before = uss(pid);
  const sockets = await Promise.all(
    Array.from({length: count}, async (_, n) => {
      const socket = connect({host: '127.0.0.1', port});
      socket.write(n % 2 === 0 ? '{"type":"ping"}\n' : 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
      await new Promise((resolve, reject) => socket.once('data', resolve).once('error', reject));
      return socket;
    }),
  );
  await new Promise(resolve => setTimeout(resolve, 500));
  const after = uss(pid);
  for (const socket of sockets) socket.destroy();
  return round((after - before) / 1024, 1);
}

async function memoryOver({port, pid}, chats) {
  await ask(port, chats / 10, 32);
  const before = uss(pid);
  await ask(port, (chats / 10) * 9, 32);
  return round((uss(pid) - before) / 1024, 1);
}

/** Chats in both protocols, `width` at a time. */
async function ask(port, chats, width) {
  const caller = new Caller(port);
  let left = chats;
  const http = async () => {
    while (left-- > 0) await caller.whole('hello');
  };
  const json = async () => {
    const socket = connect({host: '127.0.0.1', port, noDelay: true});
    while (left-- > 0) {
      socket.write('{"content":"hello"}\n');
      await new Promise(resolve => {
        const data = chunk => {
          if (chunk.at(-1) !== 0x0a) return;
          socket.off('data', data);
          resolve();
        };
        socket.on('data', data);
      });
    }
    socket.destroy();
  };
  await Promise.all(Array.from({length: width}, (_, n) => (n % 2 === 0 ? http() : json())));
  caller.close();
}

/** Asks for chat completions at one port, over connections that are kept. */
class Caller {
  constructor(port) {
    this.port = port;
    this.agent = new Agent({keepAlive: true});
  }

  /** Tokens that came, of `count` streams, `width` at a time. */
  async streams(count, text, width) {
    let [left, tokens] = [count, 0];
    const run = async () => {
      while (left-- > 0) {
        const stream = await this.stream(text);
        tokens += stream.tokens;
      }
    };
    await Promise.all(Array.from({length: width}, run));
    return tokens;
  }

  stream(text) {
    const start = performance.now();
    return this.post({model: 'm', stream: true, messages: [{role: 'user', content: text}]}, (response, resolve) => {
      let [firstMs, tokens, tail] = [undefined, 0, ''];
      response.on('data', chunk => {
        const all = tail + chunk;
        const found = all.split('" token').length - 1;
        tail = found > 0 ? all.slice(all.lastIndexOf('" token') + 2) : all.slice(-20);
        if (found > 0) firstMs ??= performance.now() - start;
        tokens += found;
      });
      response.on('end', () => resolve({firstMs, tokens}));
    });
  }

  whole(text) {
    return this.post({messages: [{role: 'user', content: text}]}, (response, resolve) => {
      response.on('data', () => undefined).on('end', resolve);
    });
  }

  post(body, read) {
    return new Promise((resolve, reject) => {
      const options = {
        host: '127.0.0.1',
        port: this.port,
        path: '/v1/chat/completions',
        method: 'POST',
        agent: this.agent,
      };
      request(options, response => {
        if (response.statusCode === 200) read(response, resolve);
        else reject(new Error(`status ${response.statusCode}`));
      })
        .on('error', reject)
        .end(JSON.stringify(body));
    });
  }

  close() {
    this.agent.destroy();
  }
}

/** Two specialists in a state folder of their own: one in front of the model server, one that needs none. */
class Specialists {
  constructor(modelPort) {
    this.folder = mkdtempSync(join(tmpdir(), 'tekton-bench-'));
    this.home = join(this.folder, 'state');
    const file = join(this.folder, 'tekton-ai.yaml');
    writeFileSync(
      file,
      `apiVersion: tekton.ai/v1alpha1
kind: Fleet
metadata: {name: bench}
spec:
  providers:
    lab: {type: openai, baseUrl: 'http://127.0.0.1:${modelPort}/v1'}
  specialists:
    - {component: streaming, provider: lab, model: m, concurrency: {max: 100, queue: 100}}
    - {component: quiet, provider: offline, concurrency: {max: 100, queue: 100}}
`,
    );
    this.run('apply', '-f', file, '--wait', '--timeout', '60s');
  }

  run(...args) {
    const env = {...process.env, TEKTON_AI_HOME: this.home};
    const {status, stderr, stdout} = spawnSync(process.execPath, [program, ...args], {env, encoding: 'utf8'});
    if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}: ${stderr}`);
    return stdout;
  }

  /** Port and pid of both. */
  ports() {
    const {specialists} = JSON.parse(readFileSync(join(this.home, 'status', 'default.bench.json'), 'utf8'));
    const of = aiId => specialists.find(one => one.aiId === aiId).status;
    const {port, instance} = of('quiet-ai');
    return [of('streaming-ai').port, {port, pid: instance.identity.pid}];
  }

  remove() {
    try {
      this.run('down', '--timeout', '60s');
    } finally {
      rmSync(this.folder, {recursive: true, force: true});
    }
  }
}

/** Memory of its own, kB. */
function uss(pid) {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kb = name => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
  return kb('Private_Clean') + kb('Private_Dirty');
}

function median(list) {
  return [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
}

function round(value, digits) {
  return Number(value.toFixed(digits));
}
