/** Which port a request gets, given who holds what. Touches nothing but the probe that it is handed. */
import type {PortRange} from '../api/types.js';

export interface PortRequest {
  readonly aiId: string;
  /** The launch that the port is for. */
  readonly uid: string;
  /** Address that the worker will bind. Default 127.0.0.1. */
  readonly host?: string;
  /** Taken if it is free, else another: the port that the specialist had before. */
  readonly preferred?: number;
  /** This one or none. May lie outside of the range. */
  readonly pinned?: number;
  /** Found taken just now by a worker that tried to bind. */
  readonly avoid?: readonly number[];
  /** Default: the range of the whole call. */
  readonly range?: PortRange;
}

export interface Holdings {
  /** Ports of the registry, by port: whose they are. */
  readonly registered: ReadonlyMap<number, string>;
  /** Live reservations. */
  readonly reserved: ReadonlyMap<number, {readonly aiId: string; readonly uid: string}>;
  /**
   * Ports that specialists had who are not running: theirs again if they can be, so others get them last. Asked for only
   * where a request may take any port, for it is dear to know.
   */
  readonly kept: () => ReadonlyMap<number, string>;
}

export type Probe = (port: number, host: string) => Promise<'free' | 'taken' | 'denied'>;

export type Choice =
  | {readonly type: 'port'; readonly port: number}
  /** The pinned port is not to be had. `by` names a specialist of ours; undefined: the kernel refused it. */
  | {readonly type: 'taken'; readonly port: number; readonly by: string | undefined}
  | {readonly type: 'exhausted'; readonly range: PortRange}
  /** The address is not this machine's, or the port is not for this user. */
  | {readonly type: 'unusable'; readonly port: number; readonly host: string};

/**
 * One choice for each request, in order; no port twice. Lowest free port first. A specialist's own entry or
 * reservation of the same launch doesn't stand in its way, anybody else's does.
 */
export async function choosePorts(
  requests: readonly PortRequest[],
  range: PortRange,
  holdings: Holdings,
  probe: Probe,
): Promise<readonly Choice[]> {
  const batch = new Set(requests.flatMap(({aiId, uid}) => [aiId, uid]));
  const table: Table = {batch, holdings, given: new Map(), refused: new Set(), firstOpen: new Map(), probe};
  const choices: Choice[] = [];
  for (const {request, index} of inOrder(requests)) {
    const choice = await chooseOne(request, request.range ?? range, table);
    if (choice.type === 'port') table.given.set(choice.port, request.aiId);
    choices[index] = choice;
  }
  return choices;
}

/** What is known while one batch is served. */
interface Table {
  /** Ai ids and uids of the requests. */
  readonly batch: ReadonlySet<string>;
  readonly holdings: Holdings;
  readonly given: Map<number, string>;
  /** `host port` that the kernel refused. */
  readonly refused: Set<string>;
  /** Below it no port of the host and range is open to any request: a batch of 5,000 doesn't begin at the start each time. */
  readonly firstOpen: Map<string, number>;
  readonly probe: Probe;
}

interface Indexed {
  readonly request: PortRequest;
  readonly index: number;
}

/** Who needs a certain port comes before who wants one, and that before who takes any. */
function inOrder(requests: readonly PortRequest[]): readonly Indexed[] {
  const rank = ({pinned, preferred}: PortRequest): number =>
    pinned !== undefined ? 0 : preferred !== undefined ? 1 : 2;
  return requests
    .map((request, index) => ({request, index}))
    .toSorted((a, b) => rank(a.request) - rank(b.request) || a.index - b.index);
}

async function chooseOne(request: PortRequest, range: PortRange, table: Table): Promise<Choice> {
  const {host = '127.0.0.1', preferred, pinned, avoid = []} = request;
  if (pinned !== undefined) {
    const by = holderOf(pinned, request, table);
    const answer = by !== undefined || avoid.includes(pinned) ? 'taken' : await ask(pinned, host, table);
    if (answer === 'denied') return {type: 'unusable', port: pinned, host};
    return answer === 'free' ? {type: 'port', port: pinned} : {type: 'taken', port: pinned, by};
  }
  const wanted = preferred !== undefined && preferred >= range.from && preferred <= range.to ? preferred : undefined;
  if (wanted !== undefined && !avoid.includes(wanted) && holderOf(wanted, request, table) === undefined) {
    if ((await ask(wanted, host, table)) === 'free') return {type: 'port', port: wanted};
  }
  const choice = await lowest(request, host, range, table, true);
  return choice.type === 'exhausted' && table.holdings.kept().size > 0
    ? lowest(request, host, range, table, false)
    : choice;
}

async function lowest(
  request: PortRequest,
  host: string,
  range: PortRange,
  table: Table,
  sparesKept: boolean,
): Promise<Choice> {
  const place = `${host} ${range.from} ${range.to}`;
  const kept = sparesKept ? table.holdings.kept() : undefined;
  let closed = true;
  for (let port = table.firstOpen.get(place) ?? range.from; port <= range.to; port++) {
    closed &&= isClosed(port, host, table);
    if (closed) table.firstOpen.set(place, port + 1);
    if (closed || request.avoid?.includes(port) || holderOf(port, request, table) !== undefined) continue;
    if ((kept?.get(port) ?? request.aiId) !== request.aiId) continue;
    const answer = await ask(port, host, table);
    if (answer === 'denied') return {type: 'unusable', port, host};
    if (answer === 'free') return {type: 'port', port};
  }
  return {type: 'exhausted', range};
}

/** Whether no request of the batch can get the port any more. */
function isClosed(port: number, host: string, {batch, given, refused, holdings}: Table): boolean {
  if (given.has(port) || refused.has(`${host} ${port}`)) return true;
  const registrant = holdings.registered.get(port);
  const reservation = holdings.reserved.get(port);
  return (
    (registrant !== undefined && !batch.has(registrant)) || (reservation !== undefined && !batch.has(reservation.uid))
  );
}

async function ask(port: number, host: string, table: Table): Promise<'free' | 'taken' | 'denied'> {
  const place = `${host} ${port}`;
  if (table.refused.has(place)) return 'taken';
  const answer = await table.probe(port, host);
  if (answer === 'taken') table.refused.add(place);
  return answer;
}

function holderOf(port: number, request: PortRequest, {given, holdings}: Table): string | undefined {
  const registrant = holdings.registered.get(port);
  if (registrant !== undefined && registrant !== request.aiId) return registrant;
  const reservation = holdings.reserved.get(port);
  if (reservation !== undefined && reservation.uid !== request.uid) return reservation.aiId;
  return given.get(port);
}
