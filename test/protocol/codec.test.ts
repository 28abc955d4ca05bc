import {describe, expect, it, test} from '@jest/globals';
import fc from 'fast-check';
import {encode, LineDecoder} from '../../src/protocol/codec.js';
import type {Decoded} from '../../src/protocol/codec.js';
import {maxLineBytes} from '../../src/protocol/messages.js';

const limit = 64;

function decode(parts: readonly Uint8Array[], size = limit): Decoded[] {
  const decoder = new LineDecoder(size);
  return [...parts.flatMap(part => decoder.push(part)), ...decoder.end()];
}

function values(text: string | Buffer): unknown[] {
  return decode([Buffer.from(text)]).map(item => (item.type === 'message' ? item.value : item.type));
}

/** Cuts `bytes` at every given place. */
function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map(cut => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, i) => bytes.subarray(places[i], end));
}

describe('LineDecoder', () => {
  test.each<[string, string, unknown[]]>([
    ['one line', '{"a":1}\n', [{a: 1}]],
    ['Windows line ends', '{"a":1}\r\n{"b":2}\r\n', [{a: 1}, {b: 2}]],
    ['a last line that the end of the stream ends', '{"a":1}\n{"b":2}', [{a: 1}, {b: 2}]],
    ['a last line that ends in \\r and the end of the stream', '{"a":1}\r', [{a: 1}]],
    ['blank lines, which say nothing', '\n\r\n  \t\n{"a":1}\n\n', [{a: 1}]],
    ['values that are no objects', '1\n"x"\nnull\n[]\n', [1, 'x', null, []]],
    ['bad JSON between good lines', '1\n{nope\n2\n', [1, 'invalid', 2]],
    ['text beyond the basic plane', '"\u{1F989}"\n', ['\u{1F989}']],
    ['nothing at all', '', []],
  ])('reads %s', (_, text, expected) => expect(values(text)).toEqual(expected));

  it('takes bad UTF-8 for one bad line and goes on', () => {
    const bytes = Buffer.concat([Buffer.from('"'), Buffer.from([0xff, 0xc3]), Buffer.from('"\n{"a":1}\n')]);
    expect(decode([bytes])).toEqual([
      {type: 'invalid', reason: 'utf8'},
      {type: 'message', value: {a: 1}, bytes: 7},
    ]);
  });

  it('accepts a line of exactly the limit, whatever ends it, and refuses one byte more', () => {
    const line = JSON.stringify('x'.repeat(limit - 2));
    for (const ending of ['', '\n', '\r\n', '\r']) expect(values(line + ending)).toEqual(['x'.repeat(limit - 2)]);
    const longer = JSON.stringify('x'.repeat(limit - 1));
    for (const ending of ['', '\n', '\r\n', '\r']) expect(values(`${longer}${ending}1\n`).at(0)).toBe('too-long');
  });

  it('gives nothing more after a line that is too long', () => {
    const decoder = new LineDecoder(limit);
    expect(decoder.push(Buffer.from(`1\n${'x'.repeat(limit + 1)}\n2\n`)).map(item => item.type)).toEqual([
      'message',
      'too-long',
    ]);
    expect(decoder.push(Buffer.from('3\n'))).toEqual([]);
    expect(decoder.end()).toEqual([]);
  });

  it('gives the same messages however the bytes are split', () => {
    const piece = fc.oneof(
      fc.json({maxDepth: 1}).map(text => Buffer.from(text)),
      fc.uint8Array({maxLength: 8}).map(bytes => Buffer.from(bytes)),
      fc.constantFrom('\n', '\r\n', '\r', ' ', '{', '"\u{1F989}"').map(text => Buffer.from(text)),
      fc.integer({min: limit - 3, max: limit + 3}).map(length => Buffer.alloc(length, '1')),
    );
    fc.assert(
      fc.property(fc.array(piece, {maxLength: 12}), fc.array(fc.nat(), {maxLength: 12}), (pieces, cuts) => {
        const bytes = Buffer.concat(pieces);
        const whole = decode([bytes]);
        expect(decode(split(bytes, cuts))).toEqual(whole);
        expect(decode(Array.from(bytes, byte => Buffer.from([byte])))).toEqual(whole);
      }),
      {numRuns: 500},
    );
  });

  it('reads back what was encoded, as one line', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), message => {
        const line = encode(message);
        expect(line.indexOf('\n')).toBe(line.length - 1);
        const plain: unknown = JSON.parse(JSON.stringify(message));
        expect(decode([Buffer.from(line)], maxLineBytes).map(item => item.type === 'message' && item.value)).toEqual([
          plain,
        ]);
      }),
    );
  });

  it('touches the bytes of a line that comes in a million pieces only a few times', () => {
    const decoder = new LineDecoder();
    const byte = Buffer.from('1');
    // Quadratic copying would move 500 GB here.
    for (let i = 0; i < 1_000_000; i++) decoder.push(byte);
    expect(decoder.push(Buffer.from('\n'))).toMatchObject([{type: 'message', bytes: 1_000_000}]);
    expect(decoder.unfinished).toBe(false);
  });
});
