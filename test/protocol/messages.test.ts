import {describe, expect, it, test} from '@jest/globals';
import {errorReply, parseReply, parseRequest} from '../../src/protocol/messages.js';

describe('parseRequest', () => {
  test.each<[string, unknown, object]>([
    ['a ping', {type: 'ping'}, {type: 'ping'}],
    ['a request id', {type: 'health', request_id: 7}, {type: 'health', request_id: 7}],
    ['a chat without a type, as old clients send it', {content: 'hi'}, {type: 'chat', content: 'hi'}],
    ['nulls as absent', {type: null, content: 'hi', stream: null, session: null}, {type: 'chat', content: 'hi'}],
    ['a list of sessions', {type: 'sessions', request_id: 1}, {type: 'sessions', request_id: 1}],
    ['the end of a session', {type: 'session_delete', session: 's'}, {type: 'session_delete', session: 's'}],
    ['the end of all sessions', {type: 'session_delete', all: true}, {type: 'session_delete', all: true}],
    ['fields that it does not know', {type: 'chat', content: 'hi', mood: 'fine'}, {type: 'chat', content: 'hi'}],
    [
      'every option of a chat',
      {
        type: 'chat',
        content: 'hi',
        stream: true,
        request_id: 'r',
        history: [{role: 'user', content: 'a', extra: 1}],
        session: 's',
        system: '',
        temperature: 0,
        max_tokens: 5,
      },
      {
        type: 'chat',
        content: 'hi',
        stream: true,
        request_id: 'r',
        history: [{role: 'user', content: 'a'}],
        session: 's',
        system: '',
        temperature: 0,
        max_tokens: 5,
      },
    ],
  ])('takes %s', (_, value, request) => expect(parseRequest(value)).toEqual({ok: true, request}));

  test.each<[string, unknown, string, string]>([
    ['a list', [], 'Message must be a JSON object', 'invalid_request'],
    ['null', null, 'Message must be a JSON object', 'invalid_request'],
    ['a number', 5, 'Message must be a JSON object', 'invalid_request'],
    ['nothing to answer', {}, 'No content provided', 'no_content'],
    ['empty content', {type: 'chat', content: ''}, 'No content provided', 'no_content'],
    ['blank content', {type: 'chat', content: ' \n'}, 'No content provided', 'no_content'],
    ['content that is no text', {content: 5}, 'content must be a string', 'invalid_request'],
    [
      'an unknown type',
      {type: 'dance'},
      'Unknown message type: "dance" (known: ping, health, info, chat, cancel, sessions, session_delete, schema, auth)',
      'unknown_type',
    ],
    [
      'a type that is no text',
      {type: 5},
      'Unknown message type: a value of type number (known: ping, health, info, chat, cancel, sessions, session_delete, schema, auth)',
      'unknown_type',
    ],
    ...[{}, {all: false}, {session: 's', all: true}].map((fields): [string, unknown, string, string] => [
      `the end of an unclear session ${JSON.stringify(fields)}`,
      {type: 'session_delete', ...fields},
      'session_delete needs a session, or all: true',
      'invalid_request',
    ]),
    ['a cancel of nothing', {type: 'cancel'}, 'cancel needs the request_id of a chat', 'invalid_request'],
    [
      'a hot temperature',
      {content: 'x', temperature: 3},
      'temperature must be a number from 0 to 2',
      'invalid_request',
    ],
    ['half a token', {content: 'x', max_tokens: 0.5}, 'max_tokens must be a positive whole number', 'invalid_request'],
    ['an odd stream', {content: 'x', stream: 'yes'}, 'stream must be true or false', 'invalid_request'],
    [
      'a system turn in the history',
      {content: 'x', history: [{role: 'system', content: 'obey'}]},
      'history must be a list of {"role": "user" or "assistant", "content": "text"}',
      'invalid_request',
    ],
    [
      'an object as request id',
      {type: 'ping', request_id: {}},
      'request_id must be a number or a string of 1 to 256 characters',
      'invalid_request',
    ],
  ])('refuses %s', (_, value, text, code) => {
    expect(parseRequest(value)).toEqual({
      ok: false,
      error: {type: 'error', error: text, message: text, code, retryable: false},
    });
  });

  it('refuses a bad streaming chat as a stream, with its id', () => {
    expect(parseRequest({type: 'chat', stream: true, request_id: 'r'})).toMatchObject({
      error: {type: 'stream_error', request_id: 'r', code: 'no_content'},
    });
  });

  it('is not led astray by names that every object inherits', () => {
    const value: unknown = JSON.parse('{"__proto__": {"type": "ping"}, "content": "hi"}');
    expect(parseRequest(value)).toEqual({ok: true, request: {type: 'chat', content: 'hi'}});
    expect(parseRequest({type: 'constructor'})).toMatchObject({ok: false, error: {code: 'unknown_type'}});
  });

  it('never echoes more than a little of what it was sent', () => {
    const parsed = parseRequest({type: 'x'.repeat(1_000_000)});
    expect(JSON.stringify(parsed).length).toBeLessThan(500);
  });
});

describe('parseReply', () => {
  it('fills in what errors of the predecessor leave out', () => {
    expect(parseReply({type: 'error', error: 'Invalid JSON'})).toEqual({
      type: 'error',
      error: 'Invalid JSON',
      message: 'Invalid JSON',
      code: 'unknown',
      retryable: false,
    });
  });

  it('takes our own errors as they are', () => {
    const reply = errorReply('full', {code: 'queue_full', retryable: true, requestId: 3, stream: true});
    expect(parseReply(JSON.parse(JSON.stringify(reply)))).toEqual(reply);
  });

  test.each<[unknown]>([[null], [[]], [{}], [{type: 'pong'}], [{type: 'chat_response'}], [{type: 'stream_end'}]])(
    'does not take %j for a reply',
    value => expect(parseReply(value)).toBeUndefined(),
  );
});
