/** What is answered over HTTP, and by whom. */
import {readiness} from '../health.js';
import type {Specialist} from '../specialist.js';
import {ChatStopped} from '../specialist.js';
import {completeChat} from './chat.js';
import type {Exchange} from './exchange.js';
import {admit, corsHeaders, isPreflight} from './guard.js';
import {answersTo, modelObject, noSuchModel} from './models.js';
import {internalError, Problem} from './problem.js';

type Answer = (exchange: Exchange, specialist: Specialist) => Promise<void> | void;

interface Route {
  readonly method: 'GET' | 'POST';
  readonly answer: Answer;
}

const routes = new Map<string, Route>([
  ['/healthz', {method: 'GET', answer: healthz}],
  ['/readyz', {method: 'GET', answer: readyz}],
  ['/metrics', {method: 'GET', answer: scrape}],
  ['/v1/models', {method: 'GET', answer: models}],
  ['/v1/chat/completions', {method: 'POST', answer: completeChat}],
]);
const oneModel = '/v1/models/';

/** Always gives an answer where somebody is there to get it; never rejects. */
export async function route(exchange: Exchange, specialist: Specialist): Promise<void> {
  const {request, response} = exchange;
  try {
    admit(request, specialist.config.authToken);
    for (const [name, value] of Object.entries(corsHeaders(request))) response.setHeader(name, value);
    const {method, answer} = find(exchange.path);
    const allowed = method === 'GET' ? 'GET, HEAD' : method;
    if (isPreflight(request)) return preflight(exchange, allowed);
    if (request.method !== method && !(method === 'GET' && request.method === 'HEAD')) {
      throw new Problem(405, `${exchange.path} answers ${allowed}`, {headers: {Allow: allowed}});
    }
    await answer(exchange, specialist);
  } catch (error) {
    if (error instanceof ChatStopped) return void request.socket.destroy();
    if (error instanceof Problem) return exchange.tell(error);
    specialist.log('error', 'internal error in HTTP', {stack: error instanceof Error ? error.stack : String(error)});
    // Half of an answer can't be taken back, and nothing of it may be taken for the whole.
    if (response.headersSent) request.socket.destroy();
    else exchange.tell(new Problem(500, internalError, {code: 'internal'}));
  }
}

function find(path: string): Route {
  const found = routes.get(path.length > 1 ? path.replace(/\/$/, '') : path);
  if (found !== undefined) return found;
  if (path.startsWith(oneModel)) return {method: 'GET', answer: model};
  const known = [...routes].map(([name, {method}]) => `${method} ${name}`).join(', ');
  throw new Problem(404, `no such path; a specialist answers ${known}`, {code: 'unknown_url'});
}

function preflight(exchange: Exchange, allowed: string): void {
  const asked = exchange.request.headers['access-control-request-headers'];
  exchange.text(204, '', {
    'Access-Control-Allow-Methods': allowed,
    ...(asked !== undefined && {'Access-Control-Allow-Headers': asked}),
    'Access-Control-Max-Age': '600',
  });
}

function healthz(exchange: Exchange, specialist: Specialist): void {
  exchange.json(200, {status: 'ok', ai_id: specialist.config.aiId});
}

async function readyz(exchange: Exchange, specialist: Specialist): Promise<void> {
  const state = await readiness(specialist);
  exchange.json(state.status === 'healthy' ? 200 : 503, {ai_id: specialist.config.aiId, ...state});
}

async function scrape(exchange: Exchange, specialist: Specialist): Promise<void> {
  const {metricsOf} = await import('./metrics.js');
  const {text, contentType} = await metricsOf(specialist);
  exchange.text(200, text, {'Content-Type': contentType});
}

function models(exchange: Exchange, specialist: Specialist): void {
  exchange.json(200, {object: 'list', data: [modelObject(specialist)]});
}

function model(exchange: Exchange, specialist: Specialist): void {
  const name = decode(exchange.path.slice(oneModel.length));
  if (name === undefined || !answersTo(specialist.config, name)) throw noSuchModel(specialist.config, name);
  exchange.json(200, modelObject(specialist));
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
