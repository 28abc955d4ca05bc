/** The code under test, twice: once on the faulty file system, once on the real one, as two processes would have it. */
import {jest} from '@jest/globals';
import type {NativeLocks} from '../../src/registry/kernel-lock.js';
import {asStep, faultyFs, faultyPromises, isInWorld} from './faulty-fs.js';

export type Code = Awaited<ReturnType<typeof load>>;

/** The real file system. Call it first. */
export function loadHealthy(): Promise<Code> {
  return load();
}

/** The faulty one, which is healthy outside of a world. */
export async function loadFaulty(): Promise<Code> {
  const native = (await import(nativeModule)) as {readonly default: NativeLocks};
  const outside = await import('proper-lockfile');
  jest.resetModules();
  const inside = await import('proper-lockfile');
  // It keeps a table of the locks that its process holds.
  jest.unstable_mockModule('proper-lockfile', () => ({
    lock: (...args: Parameters<typeof outside.lock>) => (isInWorld() ? inside : outside).lock(...args),
  }));
  jest.unstable_mockModule('node:fs', faultyFs);
  jest.unstable_mockModule('node:fs/promises', faultyPromises);
  jest.unstable_mockModule('fs-native-extensions', () => ({
    default: {
      tryLock: asStep('tryLock', (fd: number) => native.default.tryLock(fd)),
      unlock: asStep('unlock', (fd: number) => native.default.unlock(fd)),
    },
  }));
  return load();
}

/** It has no types of its own. */
const nativeModule: string = 'fs-native-extensions';

async function load() {
  return {
    ...(await import('../../src/api/errors.js')),
    ...(await import('../../src/registry/controller-record.js')),
    ...(await import('../../src/registry/events.js')),
    ...(await import('../../src/registry/fleet-records.js')),
    ...(await import('../../src/registry/home.js')),
    ...(await import('../../src/registry/launch-records.js')),
    ...(await import('../../src/registry/paths.js')),
    ...(await import('../../src/registry/processes.js')),
    ...(await import('../../src/registry/registry-client.js')),
    ...(await import('../../src/registry/reservations.js')),
    ...(await import('../../src/registry/status-files.js')),
    ...(await import('../../src/runtime/process/logs.js')),
    ...(await import('../../src/runtime/process/program.js')),
    closeSync: (await import('node:fs')).closeSync,
  };
}
