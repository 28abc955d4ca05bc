import {expect, test} from '@jest/globals';
import {detect} from '../../src/protocol/http-detect.js';

test.each([
  ['{"type":"ping"}', 'json'],
  [' {', 'json'],
  ['\n', 'json'],
  ['\u00ff', 'json'],
  ['GETX', 'json'],
  ['get /', 'json'],
  ['', 'undecided'],
  ['G', 'undecided'],
  ['OPTIONS', 'undecided'],
  ['GET ', 'http'],
  ['OPTIONS * HTTP/1.1\r\n', 'http'],
  ['POST /v1/chat/completions HTTP/1.1\r\n', 'http'],
])('takes a connection that begins with %j for %s', (text, expected) => {
  expect(detect(Buffer.from(text, 'latin1'))).toBe(expected);
});
