/** Who listens on a port, where /proc tells. Read only when a port is refused: it walks the whole process table. */
import {readdirSync, readlinkSync} from 'node:fs';
import {endianness} from 'node:os';
import {linuxPids, tryReadProc} from './processes.js';

export interface PortHolder {
  readonly pid: number;
  readonly name: string;
}

/** Pid and name of the process that listens on TCP `port`, or undefined where the system doesn't tell us. */
export async function describeHolder(port: number): Promise<PortHolder | undefined> {
  return (await describeHolders([port])).get(port);
}

/** The same for many ports in one walk. */
export async function describeHolders(ports: readonly number[]): Promise<ReadonlyMap<number, PortHolder>> {
  const wanted = new Set(ports);
  const portOfSocket = new Map<string, number>();
  for (const socket of listeningSockets()) {
    if (wanted.has(socket.port)) portOfSocket.set(`socket:[${socket.inode}]`, socket.port);
  }
  const holders = new Map<number, PortHolder>();
  if (portOfSocket.size === 0) return holders;
  for (const pid of knownPids()) {
    for (const link of openFiles(pid)) {
      const port = portOfSocket.get(link);
      if (port === undefined || holders.has(port)) continue;
      holders.set(port, {pid, name: tryReadProc(`${pid}/comm`)?.trim() ?? 'unknown'});
    }
  }
  return holders;
}

/** TCP ports that the process `pid` listens on; none where the system doesn't tell. */
export async function listeningPorts(pid: number): Promise<readonly number[]> {
  return (await listeningAddresses(pid)).map(({port}) => port);
}

export interface ListeningAddress {
  /** As numbers: `127.0.0.1`, `::1`. */
  readonly host: string;
  readonly port: number;
}

/** The same with the addresses that it is bound to. */
export async function listeningAddresses(pid: number): Promise<readonly ListeningAddress[]> {
  const links = new Set(openFiles(pid));
  return listeningSockets()
    .filter(socket => links.has(`socket:[${socket.inode}]`))
    .map(({address, port}) => ({host: hostOf(address), port}));
}

/** Whether somebody listens on `port`; undefined where the system doesn't tell. A port in use that nobody listens on
 * is some connection's own end, and free again in a moment. */
export function isListenedOn(port: number): boolean | undefined {
  const sockets = listeningSockets();
  return sockets.length === 0 && tryReadProc('net/tcp') === undefined ? undefined : sockets.some(s => s.port === port);
}

interface ListeningSocket {
  /** As /proc has it. */
  readonly address: string;
  readonly port: number;
  readonly inode: string;
}

/** `/proc/net/tcp`: local address in hexadecimal `address:port`, state 0A is LISTEN, the inode is the tenth field. */
function listeningSockets(): readonly ListeningSocket[] {
  return ['net/tcp', 'net/tcp6']
    .flatMap(path => (tryReadProc(path) ?? '').split('\n').slice(1))
    .map(line => line.trim().split(/\s+/))
    .filter(fields => fields[3] === '0A')
    .map(fields => {
      const [address = '', port = ''] = fields[1]?.split(':') ?? [];
      return {address, port: parseInt(port, 16), inode: fields[9] ?? ''};
    });
}

/** From hexadecimal words in the machine's own byte order: one of an IPv4 address, four of an IPv6 one. */
function hostOf(address: string): string {
  const words = Buffer.from(address, 'hex');
  const bytes = endianness() === 'LE' ? words.swap32() : words;
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({length: 8}, (_, n) => bytes.readUInt16BE(2 * n).toString(16)).join(':');
  return new URL(`http://[${groups}]`).hostname.slice(1, -1); // its shortest form
}

/** To name a holder is a courtesy: none where the process table can't be read. */
function knownPids(): readonly number[] {
  try {
    return linuxPids();
  } catch {
    return [];
  }
}

function openFiles(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map(fd => readLink(`/proc/${pid}/fd/${fd}`));
  } catch {
    return [];
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
