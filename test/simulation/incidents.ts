/** Carries incidents out: what the operator does, and what goes wrong. */
import {fleetId} from '../../src/reconciler/fleets.js';
import type {FleetKey} from '../../src/reconciler/ports.js';
import type {Actors, Command} from './actors.js';
import type {Audit} from './audit.js';
import {ports as range} from './declarations.js';
import type {Says} from './declarations.js';
import {Random} from './random.js';
import {byHand, drawSays, names, pinnedPort} from './scenario.js';
import type {Incident, Kind, Scenario} from './scenario.js';
import type {Life} from './scheduler.js';
import type {WorkerProcess} from './worker-process.js';
import type {ProviderState, World} from './world.js';

/** After these, too, nobody has a reason to configure a worker whose declaration is as before. */
const harmless = new Set<Kind>([
  ...byHand,
  'chats',
  'typo',
  'worker killed',
  'pid reused',
  'launches end at once',
  'launches hang',
  'launches are slow',
  'spawn fails',
  'port stolen',
  'stranger listens',
  'registry damaged',
  'registry removed',
  'registry edited',
  'watch events lost',
  'watch events late',
  'watch events doubled',
  'wall clock jumps',
  'second controller',
]);

export class Incidents {
  /** How often what happened, and while what was under way. */
  readonly happened = new Map<string, number>();
  readonly #world: World;
  readonly #actors: Actors;
  readonly #audit: Audit;
  readonly #scenario: Scenario;
  /** What each fleet's operator means, whatever stands in the file. */
  readonly #meant = new Map<string, readonly Says[]>();
  readonly #removed: string[] = [];
  #isCalm = false;

  constructor(world: World, actors: Actors, audit: Audit, scenario: Scenario) {
    this.#world = world;
    this.#actors = actors;
    this.#audit = audit;
    this.#scenario = scenario;
  }

  /** The files are there, and somebody applies them; then everything takes its course. */
  begin(): void {
    const {scheduler, secrets, files} = this.#world;
    secrets.set('HOSTED_KEY', 'k1');
    secrets.set('WORKER_TOKEN', 't1');
    // Left by the predecessor: a program that runs, and one that does not.
    this.#world.machine.strangers.set(range.from + 1, 'legacy');
    const entry = {port: range.from + 1, component: 'legacy', metadata: {}, registered_at: 1};
    files.registry = new Map([['legacy-ai', entry]]);
    for (const {key, says} of this.#scenario.fleets) {
      this.#meant.set(fleetId(key), says);
      this.#world.sources.set(fleetId(key), {type: 'valid', says});
      scheduler.after(this.#world.random.between(0, 50), undefined, `operator applies ${fleetId(key)}`, () => {
        this.#actors.command({type: 'apply', key, confirmed: true});
      });
    }
    if (this.#scenario.supervised) this.#supervise();
    for (const incident of this.#scenario.incidents) {
      scheduler.after(incident.at, undefined, `incident ${incident.index}: ${incident.kind}`, () =>
        this.#happen(incident),
      );
    }
    scheduler.after(this.#scenario.calmAt, undefined, 'calm', () => this.#calm());
  }

  /** Somebody, a service manager say, starts a controller again when there is none. */
  #supervise(): void {
    const {scheduler, random} = this.#world;
    const look = (): void => {
      if (!this.#controller()) this.#actors.controller();
      scheduler.after(random.between(100, 15_000), undefined, 'service manager looks', look);
    };
    scheduler.after(random.between(0, 2_000), undefined, 'service manager looks', look);
  }

  /** Nothing is broken from here on; what broke has to be mended by who minds it. */
  #calm(): void {
    const world = this.#world;
    const {scheduler, files, machine} = world;
    this.#isCalm = true;
    files.full = false;
    files.unreadable = false;
    machine.spawnFails = false;
    world.watching = 'well';
    world.defects.clear();
    world.providers.clear();
    world.secrets.set('HOSTED_KEY', 'k1');
    world.secrets.set('WORKER_TOKEN', 't1');
    for (const life of machine.actors) if (life.frozen) scheduler.thaw(life);
    for (const life of machine.actors) life.doomedAfter = undefined;
    // Known gap: a successor that hangs, and whose predecessor did, is found by the next controller only.
    for (const worker of machine.workers) if (worker.predecessor && !worker.listening && !worker.retired) worker.goOn();
    for (const port of machine.strangers.keys()) if (port > range.to) machine.strangers.delete(port);
    for (const {key} of this.#scenario.fleets) {
      this.#save(key, this.#meantOf(key));
      // A person decides where too many hang on a record that is gone.
      if (!files.fleets.has(fleetId(key))) this.#actors.command({type: 'apply', key, confirmed: true});
    }
    if (!this.#scenario.supervised) this.#supervise();
    this.#audit.excusedUntil = scheduler.now;
  }

  /** What a person does later: not once all is to be at rest. */
  #later(ms: number, label: string, act: () => void): void {
    const {scheduler} = this.#world;
    if (scheduler.now + ms < this.#scenario.calmAt) scheduler.after(ms, undefined, label, act);
  }

  /** The end of a fault, unless all of them have ended by then. */
  #endAfter(ms: number, label: string, act: () => void): void {
    const {scheduler} = this.#world;
    scheduler.after(ms, undefined, label, () => {
      if (!this.#isCalm) act();
    });
  }

  #happen({index, kind}: Incident): void {
    const random = Random.of(this.#world.seed, `incident ${index}`);
    const phase = this.#phase();
    if (!harmless.has(kind)) this.#audit.disturbed = true;
    if (!this.#carryOut(kind, random)) return;
    for (const key of [kind, `${kind} × ${phase}`]) this.happened.set(key, (this.happened.get(key) ?? 0) + 1);
  }

  /** What the controllers are about just now. */
  #phase(): string {
    const {machine, launching} = this.#world;
    const workers = [...machine.workers];
    if (workers.some(worker => worker.replacing)) return 'replacing';
    if (workers.some(worker => worker.draining)) return 'stopping';
    if (workers.some(worker => worker.retired)) return 'retiring';
    if (launching.size > 0) return 'launching';
    if (this.#world.lock('leader').holder === undefined) return 'nobody leads';
    return this.#world.server ? 'minding' : 'taking over';
  }

  /** False: there was nothing to do it to. */
  #carryOut(kind: Kind, random: Random): boolean {
    const world = this.#world;
    const {scheduler, machine, files} = world;
    const {key} = random.pick(this.#scenario.fleets);
    const id = fleetId(key);
    if (kind !== 'chats' && random.chance(0.25)) this.#chats(random);
    const worker = this.#victim(random);
    const lasts = random.pick([500, 5_000, 40_000, 150_000]);
    switch (kind) {
      case 'controller killed':
        return this.#toController(life => scheduler.end(life));
      case 'controller killed at an effect':
        return this.#toController(life => (life.doomedAfter = random.below(60)));
      case 'command killed at an effect': {
        const life = pickOne(
          random,
          [...machine.actors].filter(({name}) => !name.startsWith('controller')),
        );
        if (life) life.doomedAfter = random.below(40);
        return life !== undefined;
      }
      case 'controller frozen':
        return this.#toController(life => {
          life.frozen = true;
          scheduler.after(lasts, undefined, `${life.name} goes on`, () => {
            this.#audit.excusedUntil = scheduler.now;
            scheduler.thaw(life);
          });
        });
      case 'controller stopped':
        world.server?.stop();
        return world.server !== undefined;
      case 'second controller':
        this.#actors.controller();
        return true;
      case 'worker killed':
        worker?.exit({code: null, signal: 'SIGKILL'});
        return worker !== undefined;
      case 'worker hung':
      case 'worker suspended':
        return this.#freeze(worker, kind === 'worker hung' ? 'hung' : 'suspended', random);
      case 'worker told to stop by hand':
        worker?.terminate();
        return worker !== undefined;
      case 'worker configured by hand':
        return this.#configureByHand(worker, random);
      case 'worker drained by hand':
        if (!worker?.listening || worker.draining) return false;
        worker.drainByHand();
        return true;
      case 'successor killed': {
        const successor = [...machine.workers].find(one => one.predecessor?.alive);
        successor?.exit({code: null, signal: 'SIGKILL'});
        return successor !== undefined;
      }
      case 'launches end at once':
      case 'launches hang':
      case 'launches are slow': {
        const aiId = `${random.pick(
          this.#meantOf(key)
            .map(({name}) => name)
            .concat('athena'),
        )}-ai`;
        world.defects.set(
          aiId,
          ({'launches end at once': 'ends', 'launches hang': 'hangs', 'launches are slow': 'slow'} as const)[kind],
        );
        this.#endAfter(lasts, `launches of ${aiId} work again`, () => void world.defects.delete(aiId));
        return true;
      }
      case 'crash loop':
        return this.#crashLoop(worker?.aiId, random);
      case 'spawn fails':
        machine.spawnFails = true;
        this.#endAfter(lasts, 'spawning works again', () => void (machine.spawnFails = false));
        return true;
      case 'port stolen': {
        if (!worker?.listening) return false;
        const {port} = worker;
        worker.exit({code: null, signal: 'SIGKILL'});
        if (machine.holderOf(port) !== undefined) return false;
        this.#stranger(port, lasts);
        return true;
      }
      case 'stranger listens': {
        const port = range.from + random.below(4);
        if (machine.holderOf(port) !== undefined) return false;
        this.#stranger(port, lasts);
        return true;
      }
      case 'pid reused': {
        if (!worker) return false;
        const {pid} = worker.identity;
        worker.exit({code: null, signal: 'SIGKILL'});
        return machine.reusePid(pid);
      }
      case 'control connection broken':
        for (const control of [...(worker?.controls ?? [])]) worker?.breakControl(control);
        return worker !== undefined;
      case 'disk full':
        files.full = true;
        this.#endAfter(lasts, 'there is room on the disk', () => void (files.full = false));
        return true;
      case 'disk unreadable':
        files.unreadable = true;
        this.#endAfter(lasts, 'the disk reads again', () => void (files.unreadable = false));
        return true;
      case 'registry damaged':
        files.registry = 'damaged';
        files.onChange('registry');
        return true;
      case 'registry removed':
        files.registry = new Map();
        files.onChange('registry');
        return true;
      case 'registry edited':
        return this.#editRegistry(random);
      case 'launch record removed':
        if (worker) files.launches.delete(worker.aiId);
        return worker !== undefined;
      case 'fleet record removed':
        if (!files.fleets.has(id)) return false;
        files.putFleet(id, undefined, 'a hand');
        this.#later(random.between(100, 90_000), `operator applies ${id} again`, () => {
          if (!files.fleets.has(id)) this.#actors.command({type: 'apply', key, confirmed: true});
        });
        return true;
      case 'watch events lost':
      case 'watch events late':
      case 'watch events doubled':
        world.watching = (
          {'watch events lost': 'not', 'watch events late': 'late', 'watch events doubled': 'twice'} as const
        )[kind];
        this.#endAfter(lasts, 'watches work again', () => void (world.watching = 'well'));
        return true;
      case 'wall clock jumps':
        scheduler.wallOffsetMs += random.pick([-86_400_000, -3_600_000, -500, 500, 3_600_000, 86_400_000]);
        return true;
      case 'machine sleeps':
        scheduler.now += random.pick([60_000, 3_600_000, 36_000_000]);
        this.#audit.excusedUntil = scheduler.now;
        return true;
      case 'machine reboots':
        this.#reboot();
        return true;
      case 'provider down':
      case 'provider slow':
      case 'model missing': {
        const provider = random.pick(['ollama', 'hosted']);
        const state: ProviderState = (
          {'provider down': 'down', 'provider slow': 'slow', 'model missing': 'no-model'} as const
        )[kind];
        world.providers.set(provider, state);
        this.#endAfter(lasts, `${provider} is well again`, () => void world.providers.delete(provider));
        return true;
      }
      case 'secret missing': {
        const name = random.pick(['HOSTED_KEY', 'WORKER_TOKEN']);
        world.secrets.delete(name);
        this.#endAfter(lasts, `${name} is set`, () => void world.secrets.set(name, random.pick(['k1', 'k2'])));
        return true;
      }
      case 'chats':
        return this.#chats(random);
      case 'a save meets a command':
        return this.#meetCommand(key, random);
      case 'a save meets an apply':
        return this.#meetApply(key, random);
      case 'apply':
      case 'up':
        return this.#command({type: kind, key, confirmed: random.chance(0.7)});
      case 'down':
        this.#command({type: 'down', keys: random.chance(0.5) ? [key] : this.#scenario.fleets.map(fleet => fleet.key)});
        // Most are started again.
        if (random.chance(0.8)) {
          this.#later(random.between(0, 60_000), 'operator brings it up again', () => {
            for (const fleet of this.#scenario.fleets) this.#command({type: 'up', key: fleet.key, confirmed: true});
          });
        }
        return true;
      case 'restart':
      case 'pause':
      case 'resume': {
        const one = pickOne(random, files.fleets.get(id)?.specialists ?? []);
        return one !== undefined && this.#command({type: kind, key, aiId: one.aiId});
      }
      default: {
        const isDone = this.#edit(kind, key, random);
        // Somebody who has just saved a file often applies it, too.
        if (isDone && random.chance(0.3)) {
          const command: Command = {type: 'apply', key, confirmed: true};
          this.#later(random.between(0, 120), `operator applies ${id}`, () => void this.#command(command));
        }
        return isDone;
      }
    }
  }

  /** Rather one that is just becoming another thing. */
  #victim(random: Random): WorkerProcess | undefined {
    const workers = [...this.#world.machine.workers];
    const between = workers.filter(one => one.retired || one.draining || one.replacing || !one.listening);
    return pickOne(random, between.length > 0 && random.chance(0.4) ? between : workers);
  }

  #edit(kind: Exclude<Kind, Command['type']>, key: FleetKey, random: Random): boolean {
    const says = this.#meantOf(key);
    const one = pickOne(random, says);
    const change = (next: (one: Says) => Says): boolean => {
      if (!one) return false;
      return this.#save(
        key,
        says.map(other => (other === one ? next(other) : other)),
      );
    };
    switch (kind) {
      case 'add': {
        const free = names.filter(name => !says.some(other => other.name === name));
        const name = pickOne(random, free);
        return (
          name !== undefined &&
          this.#save(key, [
            ...says,
            drawSays(
              random,
              name,
              says.map(other => other.name),
            ),
          ])
        );
      }
      case 'remove':
        if (one) this.#removed.push(one.name);
        return one !== undefined && this.#save(key, without(says, one.name));
      case 'rename': {
        const name = pickOne(
          random,
          names.filter(free => !says.some(other => other.name === free)),
        );
        return (
          one !== undefined && name !== undefined && this.#save(key, [...without(says, one.name), renamed(one, name)])
        );
      }
      case 'model':
        return change(old => ({...old, model: old.model === 'small' ? 'large' : 'small'}));
      case 'env':
        return change(old => ({...old, env: random.pick(['a', 'b', 'c'])}));
      case 'pin':
        return change(({port, ...old}) => (port === undefined ? {...old, port: pinnedPort(old.name)} : old));
      case 'depend':
        return change(old => {
          const before = says.slice(0, says.indexOf(old)).map(({name}) => name);
          return {...old, dependsOn: before.length > 0 && random.chance(0.7) ? [random.pick(before)] : []};
        });
      case 'disable':
        return change(old => ({...old, enabled: false}));
      case 'enable':
        return change(({enabled: _enabled, ...old}) => old);
      case 'typo':
        return this.#put(key, {type: 'typo'});
      case 'file gone':
        return this.#put(key, {type: 'missing'});
      case 'fix':
        return this.#save(key, says);
      case 'half-written': {
        const id = fleetId(key);
        if (says.length < 2 || this.#audit.partial.has(id)) return false;
        const {scheduler} = this.#world;
        const ms = random.between(5, 950);
        const meant = new Set(says.map(({name}) => `${name}-ai`));
        this.#audit.partial.set(id, {from: scheduler.now, to: scheduler.now + ms, meant});
        this.#put(key, {type: 'valid', says: keepable(says.slice(0, 1 + random.below(says.length - 1)))});
        scheduler.after(ms, undefined, `the save of ${id} is complete`, () => {
          this.#put(key, {type: 'valid', says: this.#meantOf(key)});
          scheduler.after(5_000, undefined, `${id} is as it was`, () => this.#audit.partial.delete(id));
        });
        return true;
      }
      default:
        throw new Error(`nobody carries out ${kind}`);
    }
  }

  /**
   * The controller takes over a saved file while a command has it read the records; and what it writes itself it is not
   * told of, as it otherwise would be right away.
   */
  #meetCommand(key: FleetKey, random: Random): boolean {
    const {scheduler, files} = this.#world;
    const last = this.#scenario.fleets.at(-1)?.key ?? key;
    const one = pickOne(random, files.fleets.get(fleetId(last))?.specialists ?? []);
    if (!one || !this.#edit('model', key, random)) return false;
    this.#later(random.between(25, 60), `operator restarts ${one.aiId}`, () => {
      this.#command({type: 'restart', key: last, aiId: one.aiId});
    });
    scheduler.after(48, undefined, 'watches miss what comes now', () => {
      if (!this.#isCalm) this.#world.watching = 'not';
    });
    this.#endAfter(30_000, 'watches work again', () => void (this.#world.watching = 'well'));
    return true;
  }

  /** The controller has read a saved file, and before it writes what that says the next save is applied. */
  #meetApply(key: FleetKey, random: Random): boolean {
    if (!this.#edit('model', key, random)) return false;
    this.#later(random.between(50, 60), `operator saves ${fleetId(key)} again, and applies it`, () => {
      if (this.#edit('env', key, random)) this.#command({type: 'apply', key, confirmed: true});
    });
    return true;
  }

  #save(key: FleetKey, says: readonly Says[]): boolean {
    this.#meant.set(fleetId(key), says);
    // Whoever saves while a file is half written makes it whole.
    const half = this.#audit.partial.get(fleetId(key));
    if (half) half.to = Math.min(half.to, this.#world.scheduler.now);
    return this.#put(key, {type: 'valid', says});
  }

  #put(key: FleetKey, content: Parameters<World['sources']['set']>[1]): boolean {
    this.#world.sources.set(fleetId(key), content);
    this.#world.changed(`source ${fleetId(key)}`);
    return true;
  }

  #meantOf(key: FleetKey): readonly Says[] {
    return this.#meant.get(fleetId(key)) ?? [];
  }

  #command(command: Command): boolean {
    // Nobody reads a file while it is being written by the same person.
    const isHalf = (key: FleetKey): boolean => {
      const {now} = this.#world.scheduler;
      const half = this.#audit.partial.get(fleetId(key));
      return half !== undefined && now >= half.from - 1 && now < half.to;
    };
    if ('key' in command && isHalf(command.key)) return false;
    this.#actors.command(command);
    return true;
  }

  #controller(): Life | undefined {
    return [...this.#world.machine.actors].find(({name}) => name.startsWith('controller'));
  }

  #toController(act: (life: Life) => unknown): boolean {
    const life = this.#controller();
    if (!life) return false;
    act(life);
    return true;
  }

  #freeze(worker: WorkerProcess | undefined, how: 'hung' | 'suspended', random: Random): boolean {
    if (!worker?.responsive) return false;
    const {seed, scheduler} = this.#world;
    if (Random.of(seed, `${worker.uid} ${Math.round(scheduler.now)}`).chance(0.3)) this.#lieInWait(how);
    worker.freeze(how);
    if (random.chance(0.6)) {
      this.#world.scheduler.after(random.pick([800, 9_000, 60_000]), undefined, `${worker.uid} may go on`, () => {
        if (worker.alive) worker.goOn();
      });
    }
    return true;
  }

  /** The next predecessor that retires is the one that hangs. */
  #lieInWait(how: 'hung' | 'suspended'): void {
    const {scheduler, machine} = this.#world;
    const look = (): void => {
      const retired = [...machine.workers].find(worker => worker.retired && worker.responsive);
      if (retired) retired.freeze(how);
      else if (!this.#isCalm) scheduler.after(700, undefined, 'lies in wait', look);
    };
    look();
  }

  #crashLoop(aiId: string | undefined, random: Random): boolean {
    if (aiId === undefined) return false;
    const {scheduler, machine} = this.#world;
    const end = scheduler.now + random.pick([2_000, 20_000, 90_000]);
    const crash = (): void => {
      [...machine.workers].find(worker => worker.aiId === aiId && worker.listening)?.exit({code: 7, signal: null});
      if (scheduler.now < end && !this.#isCalm) {
        scheduler.after(random.between(50, 2_000), undefined, `${aiId} crashes again`, crash);
      }
    };
    crash();
    return true;
  }

  #stranger(port: number, lasts: number): void {
    const {scheduler, machine} = this.#world;
    machine.strangers.set(port, 'a stranger');
    scheduler.note(`a stranger listens on ${port}`);
    scheduler.after(lasts, undefined, `the stranger leaves ${port}`, () => machine.strangers.delete(port));
  }

  #editRegistry(random: Random): boolean {
    const {files} = this.#world;
    if (files.registry === 'damaged') return false;
    const entries = new Map(files.registry);
    const [aiId, entry] =
      pickOne(
        random,
        [...entries].filter(([name]) => name !== 'legacy-ai'),
      ) ?? [];
    if (aiId === undefined || !entry) return false;
    if (random.chance(0.5)) entries.delete(aiId);
    else entries.set(aiId, {...entry, port: range.to - random.below(3)});
    files.registry = entries;
    files.onChange('registry');
    return true;
  }

  /** What it does is another thing then; what it claims, with some hands, too. */
  #configureByHand(worker: WorkerProcess | undefined, random: Random): boolean {
    if (!worker?.listening || worker.draining) return false;
    const {config} = worker;
    const temperature = random.pick([0.1, 0.9]);
    const claims = random.chance(0.3) && {specHash: 'by hand', declared: {...config.declared, model: 'by hand'}};
    worker.configureByHand({...config, ...claims, parameters: {temperature}});
    return true;
  }

  #chats(random: Random): boolean {
    const serving = [...this.#world.machine.workers].filter(one => one.listening && one.responsive && !one.draining);
    for (const worker of serving) {
      const {provider} = worker.config;
      const answered = provider.type === 'offline' || this.#world.modelCheck(provider.name).available;
      for (let i = random.below(3); i >= 0; i--) {
        worker.chat(answered ? random.pick([50, 3_000, 45_000]) : 30, answered);
      }
    }
    return serving.length > 0;
  }

  #reboot(): void {
    const {scheduler, machine} = this.#world;
    machine.reboot();
    this.#world.server = undefined;
    scheduler.now += 30_000;
    machine.strangers.set(range.from + 1, 'legacy');
    this.#audit.excusedUntil = scheduler.now;
  }
}

/** One with a port of its own gets another: the loader refuses two of the same. */
function renamed({port, ...one}: Says, name: string): Says {
  return {...one, name, ...(port !== undefined && {port: pinnedPort(name)})};
}

function without(says: readonly Says[], name: string): readonly Says[] {
  return keepable(says.filter(one => one.name !== name));
}

/** Names that are not declared can't be depended on: the loader refuses them. */
function keepable(says: readonly Says[]): readonly Says[] {
  const there = new Set(says.map(({name}) => name));
  return says.map(one => ({...one, dependsOn: (one.dependsOn ?? []).filter(name => there.has(name))}));
}

function pickOne<T>(random: Random, items: readonly T[]): T | undefined {
  return items.length === 0 ? undefined : random.pick(items);
}
