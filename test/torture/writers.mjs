/** A herd of writer processes on one registry: started, hurt by a schedule, respawned, stopped. */
import {mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {now, openLog} from './oplog.mjs';
import {freezeHolder, signal, startActor} from './processes.mjs';

/** How long all may take to end when they are told to. */
const patienceMs = 30_000;

export class Herd {
  /** When somebody was frozen: {from, to, source}. */
  freezes = [];
  counts = {killed: 0, killedHolders: 0, frozen: 0, frozenHolders: 0};
  #order;
  #slots;
  #others = [];
  #log;
  #stopping = false;
  #work = [];

  /**
   * @param {object} order what every actor is told; `writers` says how many there are, `ids` are dealt out among them.
   */
  constructor(order) {
    this.#order = order;
    mkdirSync(order.logs);
    this.#log = openLog(join(order.logs, 'herd.log'));
    this.#slots = Array.from({length: order.writers}, (_, slot) => ({slot, incarnation: -1, actor: undefined}));
    for (const slot of this.#slots) this.#spawn(slot);
  }

  /** Another process beside the writers. */
  add(name, more = {}) {
    const {logs} = this.#order;
    const slot = this.#others.length;
    const actor = startActor(name, {...this.#order, ...more, slot, log: join(logs, `${name}-${slot}.log`)});
    this.#others.push({...actor, name});
    this.#watch(actor, `${name}-${slot}`);
  }

  /** Does what the schedule says; ends with its last fault, not waiting for freezes to be over. */
  async hurt(faults, startedAt) {
    for (const fault of faults) {
      await delay(Math.max(0, startedAt + fault.atMs - now()));
      this.#work.push(this.#carryOut(fault));
    }
  }

  /** Tells all to finish what they are at, and waits until they are gone. */
  async stop() {
    await Promise.all(this.#work);
    this.#stopping = true;
    const actors = [...this.#slots.map(({actor}) => actor), ...this.#others];
    for (const actor of actors) actor.stop();
    const late = delay(patienceMs, 'late', {ref: false});
    const all = Promise.all(actors.map(({gone}) => gone));
    if ((await Promise.race([all, late])) !== 'late') return;
    this.#log({violation: 'a process did not end', at: now()});
    this.end();
    await all;
  }

  /** Ends all at once, whatever they do. */
  end() {
    this.#stopping = true;
    for (const {actor} of this.#slots) actor.kill('SIGKILL');
    for (const actor of this.#others) actor.kill('SIGKILL');
  }

  #spawn(slot) {
    slot.incarnation++;
    const {logs, ids, writers} = this.#order;
    slot.source = `w${slot.slot}.${slot.incarnation}`;
    slot.actor = startActor('writer', {
      ...this.#order,
      ids: ids.filter((_, index) => index % writers === slot.slot),
      slot: slot.slot,
      incarnation: slot.incarnation,
      log: join(logs, `${slot.source}.log`),
    });
    slot.frozen = false;
    this.#watch(slot.actor, slot.source);
  }

  async #watch(actor, source) {
    const {code, signal: by, stderr} = await actor.gone;
    if (code === 0 || by === 'SIGKILL') return;
    this.#log({violation: 'a process failed', who: source, code, by, stderr: stderr.slice(-2_000), at: now()});
  }

  async #carryOut(fault) {
    const slot = await this.#victim(fault);
    if (slot === undefined) return;
    if (fault.type === 'freeze') await this.#thaw(slot, fault.durationMs);
    else await this.#kill(slot);
  }

  /** A stopped writer: the holder of a lock, if one is to be caught, else the one of the fault's slot. */
  async #victim({aimed, slot: number}) {
    const running = () => this.#slots.filter(slot => !slot.frozen);
    const at = now();
    const pid = aimed && (await freezeHolder(this.#order.home, aimed, () => running().map(({actor}) => actor.pid)));
    const slot = pid ? this.#slots.find(({actor}) => actor.pid === pid) : this.#slots[number];
    if (slot.frozen || !signal(slot.actor.pid, 'SIGSTOP')) return undefined;
    slot.frozen = true;
    slot.freeze = {from: at, to: Infinity, source: slot.source, holder: pid !== undefined && pid === slot.actor.pid};
    this.freezes.push(slot.freeze);
    return slot;
  }

  async #thaw(slot, durationMs) {
    this.counts.frozen++;
    if (slot.freeze.holder) this.counts.frozenHolders++;
    await delay(durationMs);
    signal(slot.actor.pid, 'SIGCONT');
    slot.frozen = false;
    slot.freeze.to = now();
  }

  async #kill(slot) {
    this.counts.killed++;
    if (slot.freeze.holder) this.counts.killedHolders++;
    const at = now();
    slot.actor.kill('SIGKILL');
    await slot.actor.gone;
    slot.freeze.to = now();
    this.#log({killed: slot.source, at, goneAt: now()});
    if (!this.#stopping) this.#spawn(slot);
  }
}
