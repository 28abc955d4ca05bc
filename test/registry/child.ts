/** What the child processes of these tests do; the order is the first argument, as JSON. */
import {createInterface} from 'node:readline';
import {describeError} from '../../src/api/errors.js';
import {appendEvent} from '../../src/registry/events.js';
import {holdLock} from '../../src/registry/locks.js';
import {RegistryClient} from '../../src/registry/registry-client.js';

type Order =
  | {type: 'write'; home: string; name: string; count: number; ports: {from: number; to: number}}
  | {type: 'hold'; home: string; lock: string}
  | {type: 'events'; home: string; name: string; count: number};

const order = JSON.parse(process.argv[2] ?? '') as Order; // written by startChild

switch (order.type) {
  case 'write':
    await write(order);
    break;
  case 'hold':
    await hold(order);
    break;
  case 'events':
    for (let i = 0; i < order.count; i++) {
      const message = `${order.name} ${i}`;
      await appendEvent(order.home, {at: new Date().toISOString(), type: 'Normal', reason: 'Launched', message});
    }
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
