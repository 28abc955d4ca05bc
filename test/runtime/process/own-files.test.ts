/** What stands in the place of a log or of the worker's program is not followed. */
import {execFileSync} from 'node:child_process';
import {
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {openLog, tailOf} from '../../../src/runtime/process/logs.js';
import {ensureProgram} from '../../../src/runtime/process/program.js';

let home = '';
let elsewhere = '';

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'tekton-own-'));
  elsewhere = join(home, 'elsewhere');
  writeFileSync(elsewhere, 'precious');
});

afterEach(() => {
  rmSync(home, {recursive: true, force: true});
});

describe('a log', () => {
  const tricks: readonly (readonly [string, (path: string) => unknown])[] = [
    ['a symbolic link', path => symlinkSync(elsewhere, path)],
    ['a hard link', path => linkSync(elsewhere, path)],
    ['a folder', path => mkdirSync(path)],
    ['a pipe', path => execFileSync('mkfifo', [path])],
  ];

  test.each(tricks)('in whose place %s stands begins anew, and says where that is now', (_what, put) => {
    const path = join(home, 'athena-ai.log');
    put(path);
    if (_what !== 'a hard link') expect(tailOf(path, 0)).toEqual([]);
    const {fd, offset} = openLog(path);
    writeSync(fd, 'trouble\n');
    closeSync(fd);
    expect(readFileSync(path, 'utf8')).toMatch(/stands in its place; it was moved to .*athena-ai\.log\.aside-/);
    expect(tailOf(path, offset)).toEqual(['trouble']);
    expect(readFileSync(elsewhere, 'utf8')).toBe('precious');
  });

  test('that has grown is put aside over whatever has that name', () => {
    const path = join(home, 'athena-ai.log');
    writeFileSync(path, '');
    truncateSync(path, 6 * 1024 * 1024);
    mkdirSync(`${path}.1`);
    const {fd, offset} = openLog(path);
    closeSync(fd);
    expect([offset, lstatSync(path).size, lstatSync(`${path}.1`).isFile()]).toEqual([0, 0, true]);
  });
});

describe("the worker's program", () => {
  let source = '';
  const copy = (): string => join(home, 'bin', 'worker-abc');

  beforeEach(() => {
    source = join(home, 'built');
    mkdirSync(source);
    writeFileSync(join(source, 'hash'), 'abc\n');
    writeFileSync(join(source, 'main.cjs'), 'a worker');
    writeFileSync(join(source, 'openai.cjs'), 'a provider');
  });

  test('is completed where a crash, or somebody, has left a part of it', async () => {
    const main = await ensureProgram(home, source);
    rmSync(join(copy(), 'openai.cjs'));
    writeFileSync(main, 'a wor');
    expect(await ensureProgram(home, source)).toBe(main);
    expect(readFileSync(main, 'utf8')).toBe('a worker');
    expect(readFileSync(join(copy(), 'openai.cjs'), 'utf8')).toBe('a provider');
  });

  test.each(['bin', 'bin/worker-abc'])('is not run from where a link at %s leads', async place => {
    const theirs = join(home, 'theirs');
    mkdirSync(theirs);
    if (place !== 'bin') mkdirSync(join(home, 'bin'));
    symlinkSync(theirs, join(home, place));
    const main = await ensureProgram(home, source);
    expect(readdirSync(theirs)).toEqual([]);
    expect(lstatSync(join(home, place)).isDirectory()).toBe(true);
    expect(readFileSync(main, 'utf8')).toBe('a worker');
  });

  test('replaces a file of it that is a link', async () => {
    const main = await ensureProgram(home, source);
    rmSync(main);
    symlinkSync(elsewhere, main);
    await ensureProgram(home, source);
    expect(lstatSync(main).isFile()).toBe(true);
    expect(readFileSync(elsewhere, 'utf8')).toBe('precious');
  });

  test('is private', async () => {
    const main = await ensureProgram(home, source);
    expect([copy(), main].map(path => lstatSync(path).mode & 0o777)).toEqual([0o700, 0o600]);
  });
});
