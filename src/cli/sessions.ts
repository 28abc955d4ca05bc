/** Where a specialist's conversations are reached: at its worker while it runs, else in the state folder. */
import {readdirSync} from 'node:fs';
import {RequestFailedError, type SpecialistConnection} from '../protocol/client.js';
import type {WireSession} from '../protocol/messages.js';
import {errorCode} from '../registry/files.js';
import {statePaths} from '../registry/paths.js';
import {SessionFiles} from '../worker/session-files.js';
import {summaryOf} from '../worker/session-turns.js';
import type {CommandContext} from './context.js';
import {knownSpecialists} from './names.js';
import {observe} from './observe.js';
import type {GlobalOptions} from './options.js';
import {selectOne, type Named} from './select.js';
import {connectTo} from './talk.js';

export interface SessionStore {
  readonly aiId: string;
  /** A worker answers for them. Otherwise there is what the last one left. */
  readonly running: boolean;
  /** Whether they outlive the worker. */
  readonly persistent: boolean;
  /** The one used last first. */
  readonly sessions: readonly WireSession[];
  /** @returns whether it was there */
  delete(session: string): Promise<boolean>;
  /** @returns how many there were */
  deleteAll(): Promise<number>;
  close(): void;
}

/**
 * Of the specialist that `name` means, be it declared, running, or forgotten but for its sessions. The caller closes it.
 *
 * @throws {TektonError} there is none of that name, or its worker can't be reached
 */
export async function openSessions(context: CommandContext, name: string, scope: GlobalOptions): Promise<SessionStore> {
  const known = knownSpecialists(context.home, scope);
  const left = leftBehind(context.home, scope).filter(({aiId}) => !known.some(one => one.aiId === aiId));
  const {aiId} = await selectOne([...known, ...left], name);
  const {specialists, fleets} = await observe(context, {...scope, aiIds: new Set([aiId])});
  const view = specialists.find(one => one.aiId === aiId);
  const connection = view && (await connectTo(context, view, fleets));
  return connection === undefined ? onDisk(context.home, aiId) : atWorker(connection, aiId, context.signal);
}

/** Those whose sessions are all that is left of them. */
function leftBehind(home: string, {namespace, fleet}: GlobalOptions): readonly Named[] {
  if (fleet !== undefined) return [];
  const named = foldersIn(statePaths(home).allSessions).map((aiId): Named => {
    const [first = '', ...rest] = aiId.replace(/-ai$/, '').split('.');
    return rest.length === 0
      ? {aiId, name: first, namespace: 'default'}
      : {aiId, name: rest.join('.'), namespace: first};
  });
  return named.filter(one => namespace === undefined || one.namespace === namespace);
}

function foldersIn(path: string): readonly string[] {
  try {
    return readdirSync(path, {withFileTypes: true}).flatMap(entry => (entry.isDirectory() ? [entry.name] : []));
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function atWorker(connection: SpecialistConnection, aiId: string, signal: AbortSignal): Promise<SessionStore> {
  try {
    const {persistent, sessions} = await connection.request({type: 'sessions'}, {signal});
    return {
      ...{aiId, running: true, persistent, sessions},
      delete: async session => {
        try {
          await connection.request({type: 'session_delete', session}, {signal});
          return true;
        } catch (error) {
          if (error instanceof RequestFailedError && error.code === 'unknown_session') return false;
          throw error;
        }
      },
      deleteAll: async () => (await connection.request({type: 'session_delete', all: true}, {signal})).deleted,
      close: () => connection.close(),
    };
  } catch (error) {
    connection.close();
    throw error;
  }
}

function onDisk(home: string, aiId: string): SessionStore {
  const files = new SessionFiles(home, aiId);
  const list = files.list();
  const sessions = list.flatMap((file): WireSession[] => {
    const stored = files.read(file);
    if (stored === undefined || stored === 'same') return [];
    const idle = Math.max(0, Date.now() - stored.at) / 1000;
    return [{name: stored.name, ...summaryOf(stored.messages), idle}];
  });
  return {
    ...{aiId, running: false, persistent: true, sessions: sessions.sort((a, b) => a.idle - b.idle)},
    delete: async session => list.includes(files.fileOf(session)) && files.remove(files.fileOf(session)),
    deleteAll: async () => files.removeAll().length,
    close: () => undefined,
  };
}
