/** What the child processes of these tests do; the order is the first argument, as JSON. */
import {stopOnceAt} from './freeze.js';
import {createInterface} from 'node:readline';
import {describeError} from '../../src/api/errors.js';
import {appendEvent} from '../../src/registry/events.js';
import {holdLock} from '../../src/registry/locks.js';
import {Slots} from '../../src/worker/slots.js';
import {RegistryClient} from '../../src/registry/registry-client.js';
import type {FreezeAt} from './freeze.js';

type Order =
  | {type: 'write'; home: string; name: string; count: number; ports: {from: number; to: number}}
  | {type: 'hold'; home: string; lock: string}
  | {type: 'freeze'; home: string; at: FreezeAt; action: 'register' | 'allocate'; ports: {from: number; to: number}}
  | {type: 'request'; home: string; aiId: string; port: number; timeoutMs: number}
  | {type: 'events'; home: string; name: string; count: number}
  | SlotsOrder;

/** Specialists of this process: each has so many chats, which call `url` again and again, `limit` at once over all. */
interface SlotsOrder {
  readonly type: 'slots';
  readonly home: string;
  readonly url: string;
  readonly limit: number;
  readonly specialists: Readonly<Record<string, number>>;
}

const order = JSON.parse(process.argv[2] ?? '') as Order; // written by startChild

switch (order.type) {
  case 'write':
    await write(order);
    break;
  case 'hold':
    await hold(order);
    break;
  case 'freeze':
    await freeze(order);
    break;
  case 'request':
    await request(order);
    break;
  case 'slots':
    await callInTurns(order);
    break;
  case 'events':
    for (let i = 0; i < order.count; i++) {
      const message = `${order.name} ${i}`;
      await appendEvent(order.home, {at: new Date().toISOString(), type: 'Normal', reason: 'Launched', message});
    }
}

async function callInTurns({home, url, limit, specialists}: SlotsOrder): Promise<void> {
  const never = new AbortController().signal;
  const provider = {name: 'lab', type: 'openai', baseUrl: url, maxConcurrency: limit} as const;
  const chats = Object.entries(specialists).flatMap(([aiId, count]) => {
    const slots = new Slots({aiId, home, now: () => performance.now(), timeout: () => new Error('too late')});
    const chat = async (): Promise<never> => {
      for (;;) {
        const release = await slots.acquire(provider, {signal: never, deadline: Infinity});
        await (await fetch(`${url}/${aiId}`)).text();
        release();
      }
    };
    return Array.from({length: count}, chat);
  });
  await Promise.all(chats);
}

/** Prints each registration once it is acknowledged. */
async function write({home, name, count, ports}: Extract<Order, {type: 'write'}>): Promise<void> {
  const client = new RegistryClient({home, ports, lockTimeoutMs: 60_000});
  for (let i = 0; i < count; i++) {
    const aiId = `${name}-${i}-ai`;
    const {port, uid} = await client.allocatePort({aiId});
    await client.register({aiId, uid, port, component: name});
    console.log(`${aiId} ${port}`);
  }
}

/** Stops itself at one step of its first change, as SIGSTOP from outside would in that very moment, and says how it ended. */
async function freeze({home, at, action, ports}: Extract<Order, {type: 'freeze'}>): Promise<void> {
  const client = new RegistryClient({home, ports, lockTimeoutMs: 20_000});
  await client.list();
  stopOnceAt(at);
  try {
    if (action === 'allocate') console.log(`allocated ${(await client.allocatePort({aiId: 'frozen-ai'})).port}`);
    else console.log(`registered ${(await client.register({aiId: 'frozen-ai', port: 2, component: 'x'})).aiId}`);
  } catch (error) {
    console.log(describeError(error));
  }
}

/** Registers, and says how it ended. */
async function request({home, aiId, port, timeoutMs}: Extract<Order, {type: 'request'}>): Promise<void> {
  const client = new RegistryClient({home, lockTimeoutMs: timeoutMs});
  await client.list();
  console.log('ready');
  await new Promise(resolve => process.stdin.once('data', resolve));
  try {
    await client.register({aiId, port, component: 'x'});
    console.log('registered');
  } catch (error) {
    console.log(`${(error as Error).name}: ${describeError(error)}`);
  }
  process.stdin.destroy();
}

/** Takes the lock, says so, and asks whether it still holds it at every line of input. */
async function hold({home, lock: name}: Extract<Order, {type: 'hold'}>): Promise<void> {
  const lock = await holdLock(home, name);
  console.log('held');
  for await (const _line of createInterface({input: process.stdin})) {
    try {
      lock.assertHeld();
      console.log('still held');
    } catch (error) {
      console.log(describeError(error));
    }
  }
}
