import {describe, expect, test} from '@jest/globals';
import {parseBoolean, parseCount, parseDuration, parsePort} from '../../src/cli/arguments.js';

describe('a duration', () => {
  test.each([
    ['500ms', 500],
    ['60s', 60_000],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['1m30s', 90_000],
    ['1.5s', 1500],
    ['0', 0],
    ['0s', 0],
  ])('%s is %i ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.each(['', '60', 's', '-1s', '1 s', '1d', '1e3s', 'soon', '1s2', '9999h', '.5s'])('%j is refused', text => {
    expect(() => parseDuration(text)).toThrow(/Expected/);
  });

  test('a number without a unit is taken for seconds by whoever wrote it, and by nobody else', () => {
    expect(() => parseDuration('60')).toThrow(/Did you mean 60s\?/);
  });
});

test.each(['-1', '1.5', '', 'many', '1e3', '9999999999'])('%j is no count', text => {
  expect(() => parseCount(text)).toThrow('whole number');
});

test('ports end at 65535', () => {
  expect(parsePort('65535')).toBe(65_535);
  expect(() => parsePort('65536')).toThrow('1 to 65535');
  expect(() => parsePort('0')).toThrow('1 to 65535');
});

test('a boolean is spelled out', () => {
  expect([parseBoolean('true'), parseBoolean('false')]).toEqual([true, false]);
  expect(() => parseBoolean('yes')).toThrow('true or false');
});
