/** What holds for every runtime, whatever its workers are made of. */
import {isDeepStrictEqual} from 'node:util';
import {afterEach, beforeEach, describe, expect, it} from '@jest/globals';
import type {ControlNotice, Hello, WorkerConfig} from '../../src/protocol/control.js';
import {toldOf} from '../../src/protocol/running.js';
import {fieldsOff} from '../../src/reconciler/drift.js';
import type {LaunchRequest, Runtime, Worker} from '../../src/runtime/runtime.js';

/** A place where workers run, of which a test may have several runtimes, one after the other or at once. */
export interface RuntimeWorld {
  /** As the next controller makes one: it knows nothing but what the place remembers. */
  readonly runtime: () => Runtime;
  /** A request that works: a free port, a uid of its own. */
  readonly request: (changes?: Partial<WorkerConfig>) => Promise<LaunchRequest>;
  /** One whose worker ends before it listens, and whose error output has a line with this text. */
  readonly failing: () => Promise<{readonly request: LaunchRequest; readonly stderr: string}>;
  /** The same for one that is to replace `worker`. */
  readonly failingSuccessor: (worker: Worker) => Promise<{readonly request: LaunchRequest; readonly stderr: string}>;
  /** From outside, past the runtime. */
  readonly signal: (worker: Worker, signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT' | 'SIGTERM') => Promise<void>;
  /** Somebody who is none of its owners configures it over its control socket. */
  readonly configureByHand: (worker: Worker, config: WorkerConfig) => Promise<void>;
  readonly loseRecord: (aiId: string) => Promise<void>;
  /** A program of somebody else takes the port. */
  readonly occupy: (port: number) => Promise<void>;
  /** Begins a chat; resolves once the worker is at it. */
  readonly chat: (worker: Worker) => Promise<Chat>;
  /** Ends whatever still runs. */
  readonly close: () => Promise<void>;
}

export interface Chat {
  /** The model answers. */
  readonly finish: () => void;
  /** Whether the client got the whole answer; resolves when the exchange is over. */
  readonly answered: Promise<boolean>;
}

export function runtimeContract(name: string, open: () => Promise<RuntimeWorld>): void {
  describe(`${name} as a runtime`, () => {
    let world: RuntimeWorld;
    let runtime: Runtime;

    beforeEach(async () => {
      world = await open();
      runtime = world.runtime();
    });
    afterEach(() => world.close());

    async function launch(changes: Partial<WorkerConfig> = {}): Promise<Worker> {
      const outcome = await runtime.launch(await world.request(changes));
      if (outcome.type !== 'listening') throw new Error(outcome.message);
      return outcome.worker;
    }

    /** The only worker that another runtime on the same place finds. */
    async function rediscover(): Promise<Worker> {
      const {workers} = await world.runtime().discover();
      const [found] = workers;
      if (workers.length !== 1 || !found) throw new Error(`found ${workers.length} workers`);
      return found;
    }

    it('finds nothing where nothing was launched', async () => {
      expect(await runtime.discover()).toEqual({workers: [], remains: [], retiring: []});
    });

    describe('a launch', () => {
      it('gives a worker that listens, as who it was launched', async () => {
        const request = await world.request({generation: 3, declared: {model: 'm1'}, specHash: 'h3'});
        const outcome = await runtime.launch(request);
        if (outcome.type !== 'listening') throw new Error(outcome.message);
        const {worker} = outcome;
        expect(await worker.ping(5000)).toBe(true);
        const {config, uid, port} = request;
        expect(worker).toMatchObject({aiId: config.aiId, host: config.host, port});
        expect(worker.instance.uid).toBe(uid);
        expect(worker.instance.identity.pid).toBeGreaterThan(1);
        expect(Number.isNaN(Date.parse(worker.instance.startedAt))).toBe(false);
        const said: Partial<Hello> = {
          uid,
          port,
          pid: worker.instance.identity.pid,
          aiId: config.aiId,
          name: config.name,
          component: config.component,
          host: config.host,
          fleet: config.fleet,
          namespace: config.namespace,
          generation: 3,
          specHash: 'h3',
          declared: {model: 'm1'},
          choice: config.choice,
          draining: false,
        };
        expect(worker.hello).toMatchObject(said);
      });

      it('on a port that somebody else has is refused, and leaves nothing running', async () => {
        const request = await world.request();
        await world.occupy(request.port);
        const outcome = await runtime.launch(request);
        expect(outcome).toMatchObject({type: 'failed', reason: 'PortTaken'});
        expect(outcome.type === 'failed' && outcome.message).toContain(String(request.port));
        expect((await runtime.discover()).workers).toEqual([]);
      });

      it('that fails says how it ended and what it wrote last', async () => {
        const {request, stderr} = await world.failing();
        const outcome = await runtime.launch(request);
        if (outcome.type !== 'failed') throw new Error('it did not fail');
        expect(outcome.reason).toBe('LaunchFailed');
        expect(outcome.message).toContain(`cannot start ${request.config.name}`);
        expect(outcome.exit?.stderrTail.join('\n')).toContain(stderr);
        expect(outcome.exit?.code).toBeGreaterThan(0);
        expect((await runtime.discover()).workers).toEqual([]);
      });

      it('may be tried again after one that failed', async () => {
        await runtime.launch((await world.failing()).request);
        expect(await (await launch()).ping(5000)).toBe(true);
      });
    });

    describe('a worker', () => {
      it('takes over a configuration, and says so to whoever asks', async () => {
        const worker = await launch({generation: 1, model: 'm1'});
        const {config} = await world.request({
          generation: 2,
          model: 'm2',
          specHash: 'h2',
          declared: {model: 'm2'},
          choice: {provider: 'p', type: 'offline', model: 'm2', why: 'because'},
        });
        await worker.configure(config);
        const expected = {generation: 2, specHash: 'h2', declared: {model: 'm2'}, choice: config.choice};
        expect(worker.hello).toMatchObject(expected);
        expect((await rediscover()).hello).toMatchObject(expected);
        expect(await worker.ping(5000)).toBe(true);
      });

      it('is known by what it was told last, whoever told it, and by what it says', async () => {
        const request = await world.request({generation: 1, model: 'm1'});
        const outcome = await runtime.launch(request);
        if (outcome.type !== 'listening') throw new Error(outcome.message);
        const {worker} = outcome;
        expect(worker.told).toMatchObject(toldOf(request.config));
        expect(fieldsOff(worker.told, worker.hello)).toEqual([]);
        const {config} = await world.request({generation: 2, model: 'm2', specHash: 'h2', parameters: {seed: 1}});
        await worker.configure(config);
        for (const one of [worker, await rediscover()]) {
          expect(one.told).toMatchObject(toldOf(config));
          expect(fieldsOff(one.told, one.hello)).toEqual([]);
        }
      });

      it('that somebody else configures says so at once; what it was told stays, for the next owner too', async () => {
        const worker = await launch({model: 'm1'});
        const notices: ControlNotice[] = [];
        const told = new Promise<void>(resolve =>
          worker.onNotice(notice => {
            notices.push(notice);
            resolve();
          }),
        );
        const {config} = await world.request({model: 'm2', parameters: {seed: 1}});
        await world.configureByHand(worker, config);
        await told;
        expect(notices).toMatchObject([{type: 'changed', by: 'configure', hello: {running: {model: 'm2'}}}]);
        for (const one of [worker, await rediscover()]) {
          expect(fieldsOff(one.told, one.hello)).toMatchObject([
            {path: 'model', from: 'm2', to: 'm1'},
            {path: 'parameters.seed', from: 1, to: undefined},
          ]);
        }
        await worker.configure((await world.request({model: 'm1'})).config);
        expect(fieldsOff(worker.told, worker.hello)).toEqual([]);
        expect(notices).toHaveLength(1); // of its own doing nobody is told
      });

      it('that somebody configures while it is being taken in hand is known for it', async () => {
        const worker = await launch({model: 'm1'});
        const {workers} = await world.runtime().discover();
        const {config} = await world.request({model: 'm2'});
        await world.configureByHand(worker, config);
        const [found] = workers;
        while (found && fieldsOff(found.told, found.hello).length === 0) await found.ping(1000);
        expect(found && fieldsOff(found.told, found.hello)).toMatchObject([{path: 'model', from: 'm2', to: 'm1'}]);
      });

      it('that somebody configures while it is being found is known as it is then', async () => {
        const [worker, slow] = [await launch(), await launch({aiId: 'boreas-ai', name: 'boreas'})];
        // Everybody is asked who he is, so the first has long answered when the second does.
        await world.signal(slow, 'SIGSTOP');
        const discovery = world.runtime().discover();
        const last = 20;
        for (let seed = 1; seed <= last; seed++) {
          await world.configureByHand(worker, (await world.request({parameters: {seed}})).config);
        }
        await world.signal(slow, 'SIGCONT');
        const found = (await discovery).workers.find(({aiId}) => aiId === worker.aiId);
        const isKnown = (): boolean => isDeepStrictEqual(found?.hello.running?.['parameters'], {seed: last});
        if (!isKnown()) await new Promise<void>(resolve => found?.onNotice(() => isKnown() && resolve()));
        expect(isKnown()).toBe(true);
      });

      it('that gets SIGTERM says so at once, and ends when its chats have', async () => {
        const worker = await launch();
        const chat = await world.chat(worker);
        const told = new Promise<ControlNotice>(resolve => worker.onNotice(resolve));
        await world.signal(worker, 'SIGTERM');
        expect(await told).toMatchObject({type: 'changed', by: 'SIGTERM'});
        expect(worker.hello).toMatchObject({draining: true, ending: true});
        expect((await rediscover()).hello).toMatchObject({draining: true, ending: true});
        chat.finish();
        expect(await chat.answered).toBe(true);
        expect(await worker.exited).toMatchObject({code: 0});
      });

      it('takes what is told of its model', async () => {
        const worker = await launch();
        const check = {available: false, reason: 'ModelNotFound', message: 'no m1'} as const;
        await expect(worker.tellModelStatus(check)).resolves.toBeUndefined();
      });

      it('that is killed from outside ends with that signal, and is answered for no more', async () => {
        const worker = await launch();
        await world.signal(worker, 'SIGKILL');
        const exit = await worker.exited;
        expect(exit.signal).toBe('SIGKILL');
        expect(exit.code).toBeUndefined();
        expect(await worker.ping(200)).toBe(false);
      });

      it('that hangs answers no ping, and is killed all the same', async () => {
        const worker = await launch();
        await world.signal(worker, 'SIGSTOP');
        expect(await worker.ping(100)).toBe(false);
        expect((await worker.kill()).signal).toBe('SIGKILL');
        expect((await worker.exited).signal).toBe('SIGKILL');
      });

      it('that is killed twice is killed once', async () => {
        const worker = await launch();
        expect(await Promise.all([worker.kill(), worker.kill()])).toMatchObject([
          {signal: 'SIGKILL'},
          {signal: 'SIGKILL'},
        ]);
        await expect(worker.kill()).resolves.toMatchObject({signal: 'SIGKILL'});
      });

      it('refuses a configuration when it is gone', async () => {
        const worker = await launch();
        await worker.kill();
        await expect(worker.configure((await world.request()).config)).rejects.toThrow();
      });
    });

    describe('stopping', () => {
      it('an idle worker ends it well, at once', async () => {
        const worker = await launch();
        expect(await worker.stop(60_000)).toMatchObject({code: 0});
        expect(await worker.ping(200)).toBe(false);
        expect((await runtime.discover()).workers).toEqual([]);
      });

      it('waits for a chat under way', async () => {
        const worker = await launch();
        const chat = await world.chat(worker);
        const stopped = worker.stop(60_000);
        expect(worker.hello.draining).toBe(true);
        while (!(await rediscover()).hello.draining) await worker.ping(1000);
        expect(await Promise.race([stopped, Promise.resolve('still there')])).toBe('still there');
        chat.finish();
        expect(await chat.answered).toBe(true);
        expect(await stopped).toMatchObject({code: 0});
      });

      it('waits no longer than the grace', async () => {
        const worker = await launch();
        const chat = await world.chat(worker);
        await worker.stop(100);
        expect(await chat.answered).toBe(false);
        expect((await runtime.discover()).workers).toEqual([]);
      });

      it('twice is stopping once', async () => {
        const worker = await launch();
        const [first, second] = await Promise.all([worker.stop(1000), worker.stop(1000)]);
        expect(first).toMatchObject({code: 0});
        expect(second).toEqual(first);
      });

      it('one that is gone is done', async () => {
        const worker = await launch();
        await worker.kill();
        expect(await worker.stop(1000)).toMatchObject({signal: 'SIGKILL'});
      });
    });

    describe('a replacement', () => {
      async function replace(worker: Worker, changes: Partial<WorkerConfig> = {}): Promise<Worker> {
        const outcome = await runtime.replace(worker, await successor(worker, changes));
        if (outcome.type !== 'listening') throw new Error(outcome.message);
        return outcome.worker;
      }

      async function successor(worker: Worker, changes: Partial<WorkerConfig> = {}): Promise<LaunchRequest> {
        return {...(await world.request(changes)), port: worker.port};
      }

      it('listens on the same port as another process, and the old one ends by itself', async () => {
        const old = await launch({generation: 1, declared: {a: 1}});
        const worker = await replace(old, {generation: 2, declared: {a: 2}, specHash: 'h2'});
        expect(worker.instance.uid).not.toBe(old.instance.uid);
        expect(worker.instance.identity.pid).not.toBe(old.instance.identity.pid);
        expect(worker).toMatchObject({aiId: old.aiId, host: old.host, port: old.port});
        expect(worker.hello).toMatchObject({generation: 2, declared: {a: 2}, specHash: 'h2', retired: false});
        expect(old.hello.retired).toBe(true);
        expect(await worker.ping(5000)).toBe(true);
        expect(await old.ping(5000)).toBe(false);
        expect(await old.exited).toMatchObject({code: 0});
        expect(await worker.ping(5000)).toBe(true);
      });

      it('leaves its predecessor the chats that are under way, and it ends after the last of them', async () => {
        const old = await launch();
        const chat = await world.chat(old);
        const worker = await replace(old);
        expect(await Promise.race([old.exited, worker.ping(5000)])).toBe(true);
        chat.finish();
        expect(await chat.answered).toBe(true);
        expect(await old.exited).toMatchObject({code: 0});
      });

      it('is what the next runtime finds, and apart from it who is retiring', async () => {
        const old = await launch();
        const chat = await world.chat(old);
        const worker = await replace(old, {generation: 2});
        const {workers, retiring, remains} = await world.runtime().discover();
        expect(workers.map(w => w.instance.uid)).toEqual([worker.instance.uid]);
        expect(workers[0]?.hello.generation).toBe(2);
        expect(retiring.map(w => w.instance.uid)).toEqual([old.instance.uid]);
        expect(remains).toEqual([]);
        expect(await retiring[0]?.stop(0)).toHaveProperty('at');
        expect(await chat.answered).toBe(false);
        expect((await world.runtime().discover()).retiring).toEqual([]);
        expect(await worker.ping(5000)).toBe(true);
      });

      it('is found though its launch record is lost', async () => {
        const old = await launch();
        await world.chat(old);
        const worker = await replace(old);
        await world.loseRecord(worker.aiId);
        const found = await rediscover();
        expect(found.instance.uid).toBe(worker.instance.uid);
        // Its record is written anew in the background; a configuration is written after it, and waited for.
        await found.configure((await world.request({generation: 3})).config);
        await found.kill();
        const {workers, remains} = await world.runtime().discover();
        expect(workers).toEqual([]);
        expect(remains.map(r => r.port)).toEqual([worker.port]);
      });

      it('may be had of a worker that somebody else launched, and of one that is a replacement itself', async () => {
        (await launch()).release();
        const second = await replace(await rediscover());
        const third = await replace(second);
        expect(await third.ping(5000)).toBe(true);
        expect((await rediscover()).instance.uid).toBe(third.instance.uid);
      });

      it('that is killed leaves the port to whoever is launched next, though its predecessor is still there', async () => {
        const old = await launch();
        const chat = await world.chat(old);
        const worker = await replace(old);
        await world.signal(worker, 'SIGKILL');
        await worker.exited;
        const outcome = await runtime.launch(await successor(old));
        if (outcome.type !== 'listening') throw new Error(outcome.message);
        expect(await outcome.worker.ping(5000)).toBe(true);
        chat.finish();
        expect(await chat.answered).toBe(true);
      });

      it('that does not come up leaves the old one as it was, and says why', async () => {
        const old = await launch({generation: 1});
        const {request, stderr} = await world.failingSuccessor(old);
        const outcome = await runtime.replace(old, request);
        if (outcome.type !== 'failed') throw new Error('it did not fail');
        expect(outcome.message).toContain(`cannot replace ${request.config.name}: `);
        expect(outcome.exit?.code).toBeGreaterThan(0);
        expect(outcome.exit?.stderrTail.join('\n')).toContain(stderr);
        expect(old.hello).toMatchObject({generation: 1, retired: false});
        expect(await old.ping(5000)).toBe(true);
        const found = await rediscover();
        expect(found.instance.uid).toBe(old.instance.uid);
        expect(await (await replace(old)).ping(5000)).toBe(true);
      });

      it('of a worker that is gone fails', async () => {
        const old = await launch();
        await old.kill();
        expect(await runtime.replace(old, await successor(old))).toMatchObject({type: 'failed'});
        expect((await runtime.discover()).workers).toEqual([]);
      });
    });

    describe('letting go', () => {
      it('leaves the worker alive, for the next runtime to find as it was', async () => {
        const worker = await launch({generation: 4});
        worker.release();
        const found = await rediscover();
        expect(found.instance.uid).toBe(worker.instance.uid);
        expect(found.instance.identity).toEqual(worker.instance.identity);
        expect(found).toMatchObject({aiId: worker.aiId, host: worker.host, port: worker.port});
        expect(found.hello.generation).toBe(4);
        expect(await found.ping(5000)).toBe(true);
      });

      it('is no bar to what the next one does with it', async () => {
        (await launch({generation: 1})).release();
        const found = await rediscover();
        await found.configure((await world.request({generation: 2})).config);
        expect((await rediscover()).hello.generation).toBe(2);
        await found.stop(1000);
        expect((await runtime.discover()).workers).toEqual([]);
      });

      it('does not keep the next one from noticing its end', async () => {
        const worker = await launch();
        worker.release();
        const found = await rediscover();
        await world.signal(worker, 'SIGKILL');
        await expect(found.exited).resolves.toHaveProperty('at');
      });
    });

    describe('discovery', () => {
      it('finds a worker whose launch record is lost, and writes it anew', async () => {
        const worker = await launch({generation: 5});
        await world.loseRecord(worker.aiId);
        const found = await rediscover();
        expect(found.instance.uid).toBe(worker.instance.uid);
        expect(found.instance.identity).toEqual(worker.instance.identity);
        expect(found.hello).toMatchObject({generation: 5, port: worker.port, fleet: worker.hello.fleet});
        await found.kill();
        const {remains} = await world.runtime().discover();
        expect(remains.map(r => r.port)).toEqual([worker.port]);
      });

      it('finds a hung worker, too: it is there', async () => {
        const worker = await launch();
        await world.signal(worker, 'SIGSTOP');
        worker.release();
        const found = await rediscover();
        expect(found.instance.identity).toEqual(worker.instance.identity);
        expect(found.port).toBe(worker.port);
        expect(await found.ping(100)).toBe(false);
        await found.kill();
        expect((await runtime.discover()).workers).toEqual([]);
      });

      it('keeps the port of one that ended, until it is forgotten', async () => {
        const worker = await launch();
        await worker.kill();
        const {workers, remains} = await world.runtime().discover();
        expect(workers).toEqual([]);
        const {aiId, port, hello} = worker;
        const {name, namespace, fleet, component} = hello;
        expect(remains).toMatchObject([{aiId, name, namespace, fleet, component, port}]);
        await runtime.forget(aiId);
        expect(await world.runtime().discover()).toEqual({workers: [], remains: [], retiring: []});
      });

      it('forgets what it never knew without a word', async () => {
        await expect(runtime.forget('nobody-ai')).resolves.toBeUndefined();
      });

      it('tells several apart', async () => {
        const [a, b] = [await launch({aiId: 'a-ai', name: 'a'}), await launch({aiId: 'b-ai', name: 'b'})];
        await b.kill();
        const {workers, remains} = await world.runtime().discover();
        expect(workers.map(w => w.instance.uid)).toEqual([a.instance.uid]);
        expect(remains.map(r => r.aiId)).toEqual(['b-ai']);
      });
    });
  });
}
