/** Notifications, loaded when a fleet first declares one: who has none pays for nothing. */
import {describeError} from '../api/errors.js';
import type {NotifyDeps} from '../notify/deps.js';
import type {Notifier} from '../notify/notifier.js';
import type {FleetKey, Logger, Notifications} from '../reconciler/ports.js';
import {readEvents} from '../registry/events.js';
import {appendText, readPositions, writePositions} from '../registry/notification-files.js';
import {resolveSecret} from '../spec/secrets.js';
import {repositoriesOf} from './secrets.js';

type Environment = Readonly<Record<string, string | undefined>>;

export interface NotificationsOptions {
  readonly home: string;
  readonly environment: Environment;
  readonly log: Logger;
}

export interface ClosableNotifications extends Notifications {
  /** Gives up what is on its way: whoever leads next goes on with it. */
  close(): void;
}

export function notificationsOf(options: NotificationsOptions): ClosableNotifications {
  const startedAt = new Date().toISOString();
  let failed: (key: FleetKey, message: string) => void = () => undefined;
  let loading: Promise<Notifier | undefined> | undefined;
  let loaded: Notifier | undefined;
  const load = async (): Promise<Notifier | undefined> => {
    try {
      const module = await import('../notify/notifier.js');
      return new module.Notifier({
        deps: notifyDeps(options),
        startedAt,
        failed: ({namespace, name}, message) => failed({namespace, fleet: name}, message),
      });
    } catch (error) {
      options.log.warn({error: describeError(error)}, 'cannot load notifications');
      return undefined;
    }
  };
  /** In the order in which it was asked for, now or when it is loaded; where nothing is to be told, never. */
  const tell = (what: (notifier: Notifier) => void): void => {
    if (loaded) what(loaded);
    else void loading?.then(notifier => notifier && what(notifier));
  };
  return {
    declare: record => {
      if ((record.notifications ?? []).length > 0 && !loading) {
        loading = load();
        // The first to hear of it: what waits comes right after, and nothing in between.
        void loading.then(notifier => (loaded = notifier));
      }
      tell(notifier => notifier.declare(record));
    },
    notify: events => tell(notifier => notifier.notify(events)),
    connect: told => (failed = told),
    settle: async ms => (await loading)?.settle(ms),
    close: () => loaded?.close(),
  };
}

export function notifyDeps({home, environment, log}: NotificationsOptions): NotifyDeps {
  return {
    resolve: (ref, envFile) => resolveSecret(ref, {environment, envFile, repositories: repositoriesOf(home)}),
    environment,
    append: async (path, text) => appendText(path, text),
    positions: {
      read: fleet => readPositions(home, fleet),
      write: (fleet, positions) => writePositions(home, fleet, positions),
    },
    eventsSince: at => readEvents(home, {since: at}),
    log,
    clock: {
      iso: () => new Date().toISOString(),
      after: (ms, run) => {
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
      sleep: (ms, signal) =>
        new Promise(resolve => {
          const timer = setTimeout(resolve, ms);
          signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), {once: true});
        }),
      firstRetryMs: 1000,
    },
  };
}
