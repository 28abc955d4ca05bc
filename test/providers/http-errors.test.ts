import {describe, expect, it, test} from '@jest/globals';
import {checkLimits} from '../../src/providers/timeouts.js';
import {errorFromConnection, parseRetryAfter, readRefusal, safeDetail} from '../../src/providers/http-errors.js';

describe('Retry-After', () => {
  const now = Date.parse('2025-01-01T00:00:00Z');
  test.each<[Record<string, string>, number | undefined]>([
    [{'retry-after': '3'}, 3000],
    [{'retry-after': '0'}, 0],
    [{'retry-after': '1.5'}, 1500],
    [{'retry-after': 'Wed, 01 Jan 2025 00:00:20 GMT'}, 20_000],
    [{'retry-after': 'Tue, 31 Dec 2024 23:59:00 GMT'}, 0],
    [{'retry-after-ms': '250', 'retry-after': '3'}, 250],
    [{'retry-after': 'soon'}, undefined],
    [{'retry-after': '-4'}, undefined],
    [{'retry-after': ''}, undefined],
    [{}, undefined],
  ])('%j means %s ms', (headers, ms) => {
    expect(parseRetryAfter(new Headers(headers), now)).toBe(ms);
  });
});

describe('error bodies', () => {
  test.each([
    ['Ollama', '{"error":"model not found"}', {kind: '', detail: 'model not found'}],
    [
      'Anthropic',
      '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
      {kind: 'overloaded_error', detail: 'Overloaded'},
    ],
    [
      'OpenAI',
      '{"error":{"message":"No","type":"x","code":"insufficient_quota"}}',
      {kind: 'insufficient_quota', detail: 'No'},
    ],
    [
      'vLLM',
      '{"object":"error","message":"too long","type":"BadRequestError","code":400}',
      {kind: '', detail: 'too long'},
    ],
    ['FastAPI', '{"detail":"Not Found"}', {kind: '', detail: 'Not Found'}],
    ['plain text', 'upstream down', {kind: '', detail: 'upstream down'}],
    ['a page', ' <html><body>Bad gateway', {kind: '', detail: ''}],
    ['nothing', '', {kind: '', detail: ''}],
    ['null', 'null', {kind: '', detail: ''}],
  ])('of %s are read', (_name, body, read) => {
    expect(readRefusal(body)).toEqual(read);
  });
});

describe('what a server says', () => {
  it('is one line of at most 300 characters', () => {
    expect(safeDetail(`a\n  b\t${'c '.repeat(400)}`, {texts: []})).toMatch(/^a b (c ){148}$/);
  });

  it('never shows the key, nor anything that looks like one', () => {
    expect(safeDetail('bad key hunter2hunter2', {key: 'hunter2hunter2', texts: []})).toBe('bad key ***');
    expect(safeDetail('bad key sk-ant-REDACTED', {texts: []})).not.toContain('abcdef');
  });

  it('is dropped where it quotes a prompt, long or short, however it is wrapped', () => {
    const texts = ['The quarterly figures are\n worse than anybody expected.', 'hi', 'password?'];
    expect(safeDetail('cannot parse "figures are worse than anybody" at 3', {texts})).toBe('');
    expect(safeDetail('unexpected input password? in message', {texts})).toBe('');
    expect(safeDetail('this model does not exist', {texts})).toBe('this model does not exist');
  });
});

describe('failed connections', () => {
  const peer = {label: 'Ollama at http://lab', keyName: 'K', startHint: 'start it with `ollama serve`'};
  test.each([
    ['ECONNREFUSED', 'connection refused'],
    ['ENOTFOUND', 'host not found'],
    ['CERT_HAS_EXPIRED', 'expired certificate'],
    ['E_ODD', 'E_ODD'],
  ])('%s reads "%s"', (code, text) => {
    const error = errorFromConnection(peer, Object.assign(new Error('x'), {code}), {begun: false, limits: checkLimits});
    expect(error.message).toBe(`Ollama at http://lab does not answer (${text}); start it with \`ollama serve\``);
  });
});
