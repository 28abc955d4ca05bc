import {expect, test} from '@jest/globals';
import {ageText, bytesText, countText, spanText} from '../../../src/cli/print/amounts.js';

const s = 1000;
const m = 60 * s;
const h = 60 * m;
const d = 24 * h;

test.each([
  [-5 * s, '0s'],
  [0, '0s'],
  [119 * s, '119s'],
  [2 * m, '2m'],
  [5 * m + 3 * s, '5m3s'],
  [10 * m + 3 * s, '10m'],
  [179 * m, '179m'],
  [3 * h + 5 * m, '3h5m'],
  [8 * h + 5 * m, '8h'],
  [2 * d + 3 * h, '2d3h'],
  [40 * d, '40d'],
])('%i ms is %s', (ms, text) => {
  expect(spanText(ms)).toBe(text);
});

test('what did not begin, or began at no time, has no age', () => {
  expect(ageText(undefined, 0)).toBe('<unknown>');
  expect(ageText('yesterday', 0)).toBe('<unknown>');
  expect(ageText('1970-01-01T00:00:00Z', 45 * s)).toBe('45s');
});

test('sizes and counts read well', () => {
  expect([bytesText(41_400_000), bytesText(2_340_000_000)]).toEqual(['41 MB', '2.3 GB']);
  expect([countText(1, 'specialist'), countText(0, 'specialist')]).toEqual(['1 specialist', '0 specialists']);
});
