import {execFileSync} from 'node:child_process';
import {closeSync, linkSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import {join} from 'node:path';
import {beforeEach, describe, expect, test} from '@jest/globals';
import {removeFile, writeWhole} from '../../src/registry/files.js';
import {NotOurFileError, openToAppend, readText, renameOver, setAside} from '../../src/registry/own-files.js';
import {tempHome} from './support.js';

let folder = '';
let path = '';
let elsewhere = '';

beforeEach(() => {
  folder = tempHome();
  mkdirSync(folder);
  path = join(folder, 'file');
  elsewhere = join(folder, 'elsewhere');
  writeFileSync(elsewhere, 'precious');
});

const tricks: readonly (readonly [string, () => unknown])[] = [
  ['a symbolic link', () => symlinkSync(elsewhere, path)],
  ['a folder', () => mkdirSync(path)],
  ['a pipe', () => execFileSync('mkfifo', [path])],
  ['a socket', listenOnce],
];

/** Leaves the socket's file behind, as a process that was killed does. */
async function listenOnce(): Promise<void> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(path, resolve));
  linkSync(path, `${path}.kept`);
  await new Promise(resolve => server.close(resolve));
  execFileSync('mv', [`${path}.kept`, path]);
}

describe.each(tricks)('%s in the place of a file', (_what, put) => {
  beforeEach(async () => {
    await put();
  });

  test('is neither read nor waited for', () => {
    expect(() => readText(path)).toThrow(NotOurFileError);
    expect(() => readText(path)).toThrow('stands in its place');
  });

  test('is not appended to, and can be moved aside', () => {
    expect(() => openToAppend(path)).toThrow(NotOurFileError);
    expect(setAside(path)).toContain(`${path}.aside-`);
    closeSync(openToAppend(path).fd);
    expect(setAside(path)).toBeUndefined();
    expect(readFileSync(elsewhere, 'utf8')).toBe('precious');
  });

  test('gives way to a whole file, and to a removal', async () => {
    await writeWhole(path, 'new');
    expect(readText(path)).toBe('new');
    await removeFile(path);
    await put();
    await removeFile(path);
    expect(readText(path)).toBeUndefined();
    expect(readFileSync(elsewhere, 'utf8')).toBe('precious');
  });

  test('gives way to a file that is renamed over it', () => {
    writeFileSync(`${path}.new`, 'new');
    renameOver(`${path}.new`, path);
    expect(readText(path)).toBe('new');
    expect(readFileSync(elsewhere, 'utf8')).toBe('precious');
  });
});

test('a file with a second name is read, but not appended to', () => {
  linkSync(elsewhere, path);
  expect(readText(path)).toBe('precious');
  expect(() => openToAppend(path)).toThrow('a hard link');
  expect(setAside(path)).toBeDefined();
  closeSync(openToAppend(path).fd);
  expect(readText(path)).toBe('');
  expect(readdirSync(folder)).toHaveLength(3);
});

test('what is not there is no text', () => {
  expect(readText(path)).toBeUndefined();
});
