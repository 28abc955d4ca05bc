import {mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, utimesSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {beforeEach, describe, expect, test} from '@jest/globals';
import {TektonError} from '../../src/api/errors.js';
import {errorCode, fileError, realSteps, removeFile, sweepLeftovers, writeWhole} from '../../src/registry/files.js';
import type {FileSteps} from '../../src/registry/files.js';
import {tempHome} from './support.js';

let folder = '';
let path = '';

beforeEach(() => {
  folder = tempHome();
  mkdirSync(folder);
  path = join(folder, 'file.json');
});

class Crash extends Error {}

/** Stops at step number `at`, before or after carrying it out. A crash also keeps every later step from happening. */
function failing(at: number, when: 'before' | 'after', error: () => Error): {steps: FileSteps; taken: () => number} {
  let count = 0;
  let crashed = false;
  const wrap =
    <A extends unknown[], R>(step: (...args: A) => R) =>
    async (...args: A): Promise<Awaited<R>> => {
      if (crashed) throw error();
      const hit = count++ === at;
      if (hit && error() instanceof Crash) crashed = true;
      if (hit && when === 'before') throw error();
      const value = await step(...args);
      if (hit) throw error();
      return value;
    };
  const steps: FileSteps = {
    open: wrap(realSteps.open),
    write: wrap(realSteps.write),
    sync: wrap(realSteps.sync),
    close: wrap(realSteps.close),
    rename: wrap(realSteps.rename),
    link: wrap(realSteps.link),
    unlink: wrap(realSteps.unlink),
    list: wrap(realSteps.list),
    modifiedMs: wrap(realSteps.modifiedMs),
  };
  return {steps, taken: () => count};
}

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: simulated`), {code});
}

const stepsOfOneWrite = 8; // open, write, sync, close, rename; open, sync, close of the folder

describe('writeWhole', () => {
  test('replaces the content, is private, and leaves nothing else behind', async () => {
    await writeWhole(path, 'one');
    await writeWhole(path, 'two');
    expect(readFileSync(path, 'utf8')).toBe('two');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(['file.json']);
  });

  test.each(['before', 'after'] as const)('a crash %s any step leaves the old or the new content', async when => {
    await writeWhole(path, 'old content');
    let points = 0;
    for (let at = 0; at < stepsOfOneWrite; at++) {
      const {steps, taken} = failing(at, when, () => new Crash('crashed'));
      await expect(writeWhole(path, 'new', {steps})).rejects.toThrow('cannot write');
      expect(['old content', 'new']).toContain(readFileSync(path, 'utf8'));
      points += taken() === at + 1 ? 1 : 0;
      await writeWhole(path, 'old content');
    }
    expect(points).toBe(stepsOfOneWrite);
    for (const name of readdirSync(folder)) utimesSync(join(folder, name), new Date(0), new Date(0));
    await sweepLeftovers(folder); // what the crashes left behind: this process lives, but nobody writes for 50 years
    expect(readdirSync(folder)).toEqual(['file.json']);
  });

  test.each(['ENOSPC', 'EACCES', 'EROFS', 'EMFILE', 'EIO'])(
    'on %s at any step it says so, and no temporary file stays',
    async code => {
      await writeWhole(path, 'old content');
      for (let at = 0; at < stepsOfOneWrite; at++) {
        const {steps} = failing(at, 'before', () => systemError(code));
        const failure: unknown = await writeWhole(path, 'new', {steps}).catch((error: unknown) => error);
        expect(failure).toBeInstanceOf(TektonError);
        expect((failure as TektonError).message).toMatch(/^cannot write .*file\.json: [a-z]/);
        expect(readFileSync(path, 'utf8')).toBe(at < 5 ? 'old content' : 'new');
        expect(readdirSync(folder)).toEqual(['file.json']);
        await writeWhole(path, 'old content');
      }
    },
  );

  test('calls a write off when the check right before the commit throws', async () => {
    await writeWhole(path, 'old');
    const beforeCommit = (): void => {
      throw new TektonError('lost the lock');
    };
    await expect(writeWhole(path, 'new', {beforeCommit})).rejects.toThrow('lost the lock');
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['file.json']);
  });

  test('replaces a symbolic link and does not touch what it points to', async () => {
    const elsewhere = join(dirname(folder), 'elsewhere');
    writeFileSync(elsewhere, 'precious');
    symlinkSync(elsewhere, path);
    await writeWhole(path, 'new');
    expect(readFileSync(elsewhere, 'utf8')).toBe('precious');
    expect(statSync(path).size).toBe(3);
  });
});

test('leftovers go when their writer is dead and they are older than a minute; others stay', async () => {
  const now = Date.now();
  const make = (name: string, ageMs: number): void => {
    writeFileSync(join(folder, name), '');
    utimesSync(join(folder, name), new Date(now - ageMs), new Date(now - ageMs));
  };
  make('.a.999999999-1-abc.tmp', 120_000);
  make('.b.999999999-1-abc.tmp', 1_000);
  make(`.c.${process.pid}-1-abc.tmp`, 120_000);
  make('.d.tmp', 120_000);
  await sweepLeftovers(folder, {now});
  expect(readdirSync(folder).toSorted()).toEqual(['.b.999999999-1-abc.tmp', `.c.${process.pid}-1-abc.tmp`, '.d.tmp']);
});

test('removing what is not there is success', async () => {
  await removeFile(path);
  writeFileSync(path, '');
  await removeFile(path);
  expect(readdirSync(folder)).toEqual([]);
});

test('a system error becomes a sentence with what to do', () => {
  const error = fileError('cannot write /x', systemError('ENOSPC'));
  expect(error.message).toBe('cannot write /x: no space left on the device');
  expect(error.hint).toContain('Free some space');
  expect(errorCode(error.cause)).toBe('ENOSPC');
  expect(fileError('again', error)).toBe(error);
});
