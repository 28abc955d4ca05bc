/**
 * Who may ask over HTTP, and in which shape. Web pages must not reach a local specialist through their visitor's browser,
 * by name (DNS rebinding) or by script; no two programs may read the same bytes as different requests.
 */
import type {IncomingMessage} from 'node:http';
import {matchesToken} from '../auth.js';
import {isLoopback} from '../departure.js';
import {Problem} from './problem.js';

/** @throws {Problem} */
export function admit(request: IncomingMessage, token: string | undefined): void {
  const {httpVersion, headers, headersDistinct, socket, url = ''} = request;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') throw misshapen(400, 'not an HTTP/1.1 request');
  // node:http has refused it beside a length, and any but `chunked` as the last; what is left is coded in ways of its own.
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && (httpVersion === '1.0' || coding.toLowerCase() !== 'chunked')) {
    throw misshapen(501, 'the only transfer coding is chunked');
  }
  const hosts = headersDistinct['host'] ?? [];
  if (hosts.length > 1 || (hosts.length === 0 && httpVersion !== '1.0')) {
    throw misshapen(400, 'needs one Host header');
  }
  if (!url.startsWith('/') && url !== '*') throw misshapen(400, 'the request target must be a path');
  if (isLoopback(socket.localAddress ?? '')) {
    if (!hosts.every(isLoopbackHost)) throw new Problem(403, 'Host is not a name of this machine');
    if (!(headersDistinct['origin'] ?? []).every(isLoopbackOrigin)) throw new Problem(403, 'foreign Origin');
  }
  // A browser asks whether it may show the token before it does.
  if (token === undefined || isPreflight(request)) return;
  const given = headers.authorization ?? '';
  if (/^bearer /i.test(given) && matchesToken(given.slice('bearer '.length).trim(), token)) return;
  throw new Problem(401, 'needs a bearer token', {
    code: 'invalid_api_key',
    headers: {'WWW-Authenticate': 'Bearer'},
  });
}

/** Whoever speaks like this may mean something else with what follows, too. */
function misshapen(status: number, message: string): Problem {
  return new Problem(status, message, {headers: {Connection: 'close'}});
}

/** What lets a page of this machine read the answer. */
export function corsHeaders({headers: {origin}, socket}: IncomingMessage): Readonly<Record<string, string>> {
  if (origin === undefined || !isLoopback(socket.localAddress ?? '')) return {};
  return {'Access-Control-Allow-Origin': origin, Vary: 'Origin'};
}

export function isPreflight({method, headers}: IncomingMessage): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
}

function isLoopbackHost(host: string): boolean {
  const [, name] = /^(\[[0-9a-fA-F:.]+\]|[^:]*)(?::\d+)?$/.exec(host) ?? [];
  return name !== undefined && (/^localhost\.?$/i.test(name) || name === '[::1]' || /^127(\.\d{1,3}){3}$/.test(name));
}

function isLoopbackOrigin(origin: string): boolean {
  const [, host] = /^https?:\/\/([^/]*)$/i.exec(origin) ?? [];
  return host !== undefined && isLoopbackHost(host);
}
