import {closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {expect, test} from '@jest/globals';
import {lineWriter} from '../../src/cli/logger.js';

test('a log line reaches the descriptor', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tekton-log-'));
  const path = join(folder, 'log');
  const fd = openSync(path, 'w');
  try {
    const write = lineWriter(fd);
    write('one\n');
    write('two\n');
    expect(readFileSync(path, 'utf8')).toBe('one\ntwo\n');
  } finally {
    closeSync(fd);
    rmSync(folder, {recursive: true});
  }
});

/** Linux has a device that is always full. */
(existsSync('/dev/full') ? test : test.skip)('a full disk ends no log, and so no controller', () => {
  const fd = openSync('/dev/full', 'w');
  try {
    expect(() => lineWriter(fd)('lost\n')).not.toThrow();
  } finally {
    closeSync(fd);
  }
});
