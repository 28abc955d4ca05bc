/** The world of notifications in a test's hand: a server that remembers, secrets, and a log of events in memory. */
import {createServer} from 'node:http';
import type {IncomingHttpHeaders, IncomingMessage, ServerResponse} from 'node:http';
import type {AddressInfo} from 'node:net';
import type {NotificationSpec} from '../../src/api/notifications.js';
import type {FleetEvent, FleetRecord} from '../../src/api/types.js';
import type {NotifyDeps, Positions} from '../../src/notify/deps.js';
import {dev, loaded} from '../fakes/ports.js';

export interface Request {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export type Answer = (request: Request, response: ServerResponse, count: number) => void;

/** A receiver on loopback. */
export class Receiver {
  readonly requests: Request[] = [];
  readonly #server;
  readonly #waiting: (() => void)[] = [];

  private constructor(answer: Answer) {
    this.#server = createServer((request, response) => void this.#take(request, response, answer));
  }

  static async listen(answer: Answer = (_, response) => void response.end()): Promise<Receiver> {
    const receiver = new Receiver(answer);
    await new Promise<void>(resolve => receiver.#server.listen(0, '127.0.0.1', resolve));
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Resolves once that many requests have come. */
  async got(count: number): Promise<void> {
    while (this.requests.length < count) await new Promise<void>(resolve => this.#waiting.push(resolve));
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise(resolve => this.#server.close(resolve));
  }

  async #take(request: IncomingMessage, response: ServerResponse, answer: Answer): Promise<void> {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const {method = '', url: path = '', headers} = request;
    const taken = {method, path, headers, body};
    this.requests.push(taken);
    for (const wake of this.#waiting.splice(0)) wake();
    answer(taken, response, this.requests.length);
  }
}

export interface World extends NotifyDeps {
  readonly secrets: Map<string, string>;
  readonly written: Map<string, Positions>;
  readonly files: Map<string, string>;
  readonly log: NotifyDeps['log'] & {readonly lines: string[]};
  events: FleetEvent[];
  /** What was slept, ms: nothing is. */
  readonly slept: number[];
  /** Runs what was to run after some time. */
  readonly turnClock: () => void;
}

export function world(): World {
  const secrets = new Map<string, string>();
  const written = new Map<string, Positions>();
  const files = new Map<string, string>();
  const slept: number[] = [];
  const lines: string[] = [];
  const timers = new Set<() => void>();
  const say = (fields: Readonly<Record<string, unknown>>, message: string) =>
    void lines.push(`${message} ${JSON.stringify(fields)}`);
  const made: World = {
    ...{secrets, written, files, slept},
    events: [],
    resolve: async ref => {
      const value = secrets.get('env' in ref ? ref.env : ref.file);
      return value === undefined ? {missing: `${'env' in ref ? ref.env : ref.file} is not set`} : {value};
    },
    environment: {PATH: process.env['PATH'], SECRET_OF_THE_CONTROLLER: 'never-passed-on'},
    append: async (path, text) => void files.set(path, (files.get(path) ?? '') + text),
    positions: {
      read: ({namespace, name}) => written.get(`${namespace}/${name}`),
      write: async ({namespace, name}, positions) => void written.set(`${namespace}/${name}`, positions),
    },
    eventsSince: at => made.events.filter(event => event.at >= at),
    log: {lines, warn: say, debug: say},
    clock: {
      iso: () => '2026-01-01T00:10:00.000Z',
      after: (_ms, run) => {
        const once = (): void => {
          timers.delete(once);
          run();
        };
        timers.add(once);
        return () => timers.delete(once);
      },
      sleep: async ms => void slept.push(ms),
      firstRetryMs: 1,
    },
    turnClock: () => {
      for (const run of [...timers]) run();
    },
  };
  return made;
}

export function event(reason = 'Exited', more: Partial<FleetEvent> = {}): FleetEvent {
  return {
    at: '2026-01-01T00:00:00.000Z',
    type: 'Warning',
    reason,
    namespace: dev.namespace,
    fleet: dev.fleet,
    aiId: 'athena-ai',
    message: 'pid 7 ended by "SIGKILL"',
    ...more,
  };
}

export function spec(to: NotificationSpec['to'], more: Partial<NotificationSpec> = {}): NotificationSpec {
  return {name: 'ops', on: {types: ['Warning']}, minIntervalSeconds: 0, to, origin: {type: 'built-in'}, ...more};
}

export function webhook(url: string, more: object = {}): NotificationSpec['to'] {
  return {type: 'webhook', url, method: 'POST', headers: {}, timeoutSeconds: 10, retries: 5, ...more};
}

export function record(notifications: readonly NotificationSpec[], more: Partial<FleetRecord> = {}): FleetRecord {
  return {
    ...loaded([], {notifications}),
    ...{formatVersion: 1, appliedAt: '2026-01-01T00:00:00.000Z', version: '0', generations: {}, stopped: false},
    ...more,
  };
}
