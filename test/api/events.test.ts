import {readFileSync} from 'node:fs';
import {expect, test} from '@jest/globals';
import {eventReasons} from '../../src/api/events.js';

test('the reference lists every event, and no other', () => {
  const text = readFileSync('docs/reference/conditions.md', 'utf8');
  const table = text
    .slice(text.indexOf('## Events'))
    .split('\n')
    .filter(line => line.startsWith('| `'));
  const listed = table.flatMap(line => [...(line.split('|')[1] ?? '').matchAll(/`(\w+)`/g)].map(([, name]) => name));
  expect([...new Set(listed)].sort()).toEqual([...eventReasons].sort());
});
