/** Who acts on the state folder: controllers and commands, as src/cli has them. Each is a process that may die at any effect. */
import {ConflictError, LockBusyError} from '../../src/api/errors.js';
import type {FleetRecord, FleetStatus} from '../../src/api/types.js';
import {Controller} from '../../src/reconciler/controller.js';
import {nextRecord} from '../../src/reconciler/desired.js';
import {fleetId} from '../../src/reconciler/fleets.js';
import type {FleetKey} from '../../src/reconciler/ports.js';
import {held, restarted, resumed} from '../../src/reconciler/rollouts.js';
import {outlook} from '../../src/reconciler/status.js';
import type {Audit} from './audit.js';
import {load, portsOf, updateFleet} from './ports.js';
import type {Life} from './scheduler.js';
import {idOf} from './state-folder.js';
import type {Server, World} from './world.js';

/** As cli/lead.ts and cli/converge.ts. */
const leaderTimeoutMs = 60_000;
const lookAgainMs = 100;
const parallel = 8;
const version = '1';

export type Command =
  | {readonly type: 'apply' | 'up'; readonly key: FleetKey; readonly confirmed: boolean}
  | {readonly type: 'down'; readonly keys: readonly FleetKey[]}
  | {readonly type: 'restart' | 'pause' | 'resume'; readonly key: FleetKey; readonly aiId: string};

export class Actors {
  readonly #world: World;
  readonly #audit: Audit;
  #started = 0;

  constructor(world: World, audit: Audit) {
    this.#world = world;
    this.#audit = audit;
  }

  /** `tekton-ai run`. */
  controller(): Life {
    return this.#start('controller', life => this.#lead(life));
  }

  command(command: Command): Life {
    return this.#start(command.type, life => this.#run(life, command));
  }

  #start(what: string, body: (life: Life) => Promise<void>): Life {
    const {machine, scheduler} = this.#world;
    const life = machine.startActor(`${what}-${++this.#started}`);
    scheduler.note(`${life.name} starts`);
    this.#audit.began(life);
    body(life)
      .catch((error: unknown) =>
        scheduler.note(`${life.name} failed: ${error instanceof Error ? error.message : String(error)}`),
      )
      .finally(() => scheduler.end(life))
      .catch(() => undefined);
    return life;
  }

  /** As lead of cli/lead.ts. */
  async #lead(life: Life): Promise<void> {
    const world = this.#world;
    const {scheduler, files, machine} = world;
    const lock = world.lock('leader');
    await this.#becomeLeader(life);
    const controller = new Controller({ports: this.#ports(life), version, follow: true, parallel});
    let server: Server | undefined;
    try {
      await controller.start();
      let stop: () => void = () => undefined;
      const stopped = new Promise<void>(resolve => (stop = resolve));
      server = {life, controller, stop};
      const serving = server;
      await scheduler.effect(life, 'opens its socket', () => (world.server = serving), 'quick');
      const identity = machine.identityOf(life);
      await scheduler.effect(life, 'writes its record', () => files.writeController({identity}));
      this.#audit.leads(life);
      await stopped;
    } finally {
      this.#audit.leaves(life);
      await scheduler.effect(life, 'removes its record', () => files.writeController(undefined)).catch(() => undefined);
      if (world.server === server) world.server = undefined;
      await controller.close();
      lock.release(life);
    }
  }

  /** As becomeLeader of cli/lead.ts. @throws {ConflictError} there is a controller already */
  async #becomeLeader(life: Life): Promise<void> {
    const {scheduler} = this.#world;
    const deadline = scheduler.now + leaderTimeoutMs;
    for (;;) {
      if (await this.#findController(life)) throw new ConflictError('another controller runs');
      try {
        return await this.#world.lock('leader').hold(life, lookAgainMs);
      } catch (error) {
        if (!(error instanceof LockBusyError) || scheduler.now > deadline) throw error;
      }
    }
  }

  async #run(life: Life, command: Command): Promise<void> {
    const {scheduler} = this.#world;
    switch (command.type) {
      case 'apply':
      case 'up': {
        const {key, confirmed} = command;
        const loaded = await scheduler.effect(life, `loads ${fleetId(key)}`, () => {
          this.#world.onLoad(life, fleetId(key));
          return load(this.#world, key);
        });
        const record = await this.#change(life, key, previous => {
          const appliedAt = scheduler.iso();
          return nextRecord(previous, loaded, {confirmed, takeOver: false, prune: true, appliedAt, version});
        });
        if (command.type === 'up' && !(await this.#findController(life))) this.controller();
        await this.#converge(life, [record], true);
        return;
      }
      case 'down': {
        const stopped: FleetRecord[] = [];
        for (const key of command.keys) {
          const record = await this.#change(life, key, before => before && {...before, stopped: true});
          if (record) stopped.push(record);
        }
        await this.#converge(life, stopped);
        const records = await scheduler.effect(life, 'reads the fleets', () => this.#world.files.readFleets());
        const running = await this.#findController(life);
        if (running && records.every(record => record.stopped)) await this.#ask(life, running, 'stop');
        return;
      }
      case 'restart':
      case 'pause':
      case 'resume': {
        const {key, aiId, type} = command;
        const bySource =
          type === 'resume'
            ? (await scheduler.effect(life, `loads ${fleetId(key)}`, () => load(this.#world, key))).specialists
            : [];
        const record = await this.#change(life, key, previous => {
          const current = previous?.specialists.find(one => one.aiId === aiId);
          if (!previous || !current || previous.stopped) throw new Error(`cannot ${type} ${aiId}`);
          const at = scheduler.iso();
          if (type === 'restart') return restarted(previous, [aiId], at);
          return type === 'pause' ? held(previous, current, 'pause', at) : resumed(previous, [aiId], bySource, at);
        });
        await this.#converge(life, [record]);
        return;
      }
      default:
        return command satisfies never;
    }
  }

  /** Written and acknowledged: from here on it is for others to keep. */
  async #change<T extends FleetRecord | undefined>(
    life: Life,
    key: FleetKey,
    change: (record: FleetRecord | undefined) => T,
  ): Promise<T> {
    const record = await updateFleet(this.#world, life, key, change);
    this.#world.scheduler.note(`${life.name} is told that ${fleetId(key)} is changed`);
    return record;
  }

  /** As converge of cli/converge.ts. */
  async #converge(life: Life, records: readonly FleetRecord[], heal = false): Promise<void> {
    const {scheduler} = this.#world;
    const deadline = scheduler.now + life.random.between(5_000, 120_000);
    while (scheduler.now < deadline) {
      const running = await this.#findController(life);
      if (running) {
        try {
          await this.#ask(life, running, 'load', heal ? records.map(idOf) : []);
          return await this.#follow(life, running, records, deadline);
        } catch (error) {
          if (await this.#findController(life)) throw error;
          continue;
        }
      }
      const led = await this.#world
        .lock('leader')
        .hold(life, 0)
        .then(
          () => true,
          () => false,
        );
      if (led) return this.#convergeHere(life, records, deadline, heal);
      await scheduler.sleep(life, 50);
    }
  }

  async #convergeHere(life: Life, records: readonly FleetRecord[], deadline: number, heal: boolean): Promise<void> {
    try {
      const ports = this.#ports(life);
      for (const record of records) {
        const only = {namespace: record.namespace, fleet: record.name};
        const controller = new Controller({ports, version, follow: false, only, parallel, heal});
        try {
          await controller.start();
          await this.#until(life, [record], deadline, told => this.#subscribe(life, controller, told));
        } finally {
          this.#audit.leaves(life);
          await controller.close();
        }
      }
    } finally {
      this.#world.lock('leader').release(life);
    }
  }

  /** As follow of cli/converge.ts, by the controller's word. */
  #follow(life: Life, server: Server, records: readonly FleetRecord[], deadline: number): Promise<void> {
    const {scheduler} = this.#world;
    let open = true;
    return new Promise((resolve, reject) => {
      const lost = (): void =>
        void scheduler.after(1, life, 'loses the controller', () => reject(new Error('the controller ended')));
      scheduler.after(scheduler.latency(life.random, 'socket'), life, 'connects to the controller', () => {
        if (!server.life.alive || this.#world.server !== server) return lost();
        server.life.onEnd.push(lost);
        scheduler.after(scheduler.latency(life.random, 'socket'), server.life, 'is asked for statuses', () => {
          const followed = this.#until(life, records, deadline, told => {
            const stop = this.#subscribe(server.life, server.controller, status => {
              const ms = scheduler.latency(life.random, 'socket');
              if (open) scheduler.after(ms, life, 'is told a status', () => told(status));
            });
            return () => {
              open = false;
              // Its end of the connection: the controller sees it a moment later.
              scheduler.after(1, server.life, 'sees a client leave', stop);
            };
          });
          followed.then(resolve, reject);
        });
      });
    });
  }

  /** Asking for statuses is a look of the controller at its fleets, too. */
  #subscribe(life: Life, controller: Controller, told: (status: FleetStatus) => void): () => void {
    let asking = true;
    const stop = controller.subscribe(status => {
      if (asking) this.#audit.look(life, status);
      told(status);
    });
    asking = false;
    return stop;
  }

  #until(
    life: Life,
    records: readonly FleetRecord[],
    deadline: number,
    subscribe: (told: (status: FleetStatus) => void) => () => void,
  ): Promise<void> {
    const {scheduler} = this.#world;
    return new Promise(resolve => {
      const last = new Map<string, FleetStatus>();
      let unsubscribe: () => void = () => undefined;
      let done = false;
      const finish = (): void => {
        done = true;
        cancel();
        unsubscribe();
        resolve();
      };
      const cancel = scheduler.after(deadline - scheduler.now, life, 'waited long enough', finish);
      unsubscribe = subscribe(status => {
        if (done) return;
        last.set(idOf(status), status);
        if (records.every(record => isSettled(record, last.get(idOf(record))))) finish();
      });
      if (done) unsubscribe();
    });
  }

  /** As findController of registry/controller-record.ts. */
  #findController(life: Life): Promise<Server | undefined> {
    const {scheduler, files, machine} = this.#world;
    return scheduler.effect(life, 'looks for a controller', () => {
      const record = files.controller;
      return record && machine.isSame(record.identity) ? this.#world.server : undefined;
    });
  }

  /** As askController of cli/controller-link.ts. */
  #ask(life: Life, server: Server, what: 'load' | 'stop', applied: readonly string[] = []): Promise<void> {
    const {scheduler} = this.#world;
    return new Promise((resolve, reject) => {
      const back = (label: string, tell: () => void): void =>
        void scheduler.after(scheduler.latency(life.random, 'socket'), life, label, tell);
      const lost = (): void => back('loses the controller', () => reject(new Error('the controller ended')));
      scheduler.after(scheduler.latency(life.random, 'socket'), life, `asks the controller to ${what}`, () => {
        if (!server.life.alive || this.#world.server !== server) return lost();
        server.life.onEnd.push(lost);
        scheduler.after(scheduler.latency(life.random, 'socket'), server.life, `is asked to ${what}`, () => {
          if (what === 'stop') {
            back('is told that it stops', resolve);
            server.stop();
            return;
          }
          server.controller.loadRecords(applied).then(
            () => back('is told that it loaded', resolve),
            (error: unknown) => back('is refused', () => reject(new Error('refused', {cause: error}))),
          );
        });
      });
    });
  }

  #ports(life: Life): ReturnType<typeof portsOf> {
    const {scheduler} = this.#world;
    const warn = (message: string, fields: unknown): void => {
      // An event is also said as a warning.
      if (message !== 'event' && scheduler.lines) {
        scheduler.note(`${life.name} warns: ${message} ${JSON.stringify(fields)}`);
      }
    };
    const ports = portsOf(this.#world, life, warn);
    const {store} = ports;
    const writeStatus: typeof store.writeStatus = status => {
      this.#audit.says(life, status);
      return store.writeStatus(status);
    };
    return {...ports, store: {...store, writeStatus}};
  }
}

/** Nothing but others' doing could bring it further, as `judge` of cli/converge.ts has it. */
function isSettled(record: FleetRecord, status: FleetStatus | undefined): boolean {
  if (!status) return false;
  const byId = new Map(status.specialists.map(named => [named.aiId, named]));
  const declared = new Set(record.specialists.map(({aiId}) => aiId));
  if (status.specialists.some(({aiId}) => !declared.has(aiId))) return false;
  return record.specialists.every(({aiId, generation}) => {
    const named = byId.get(aiId);
    return named !== undefined && named.generation >= generation && outlook(named).type !== 'waiting';
  });
}
