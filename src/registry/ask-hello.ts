/** Asks a worker over its control socket who it is. */
import {connect} from 'node:net';
import type {Socket} from 'node:net';
import type {Hello} from '../protocol/control.js';
import {ControlConnection} from '../protocol/control-client.js';
import {errorCode} from './files.js';

export type HelloAnswer =
  /** The caller closes `control`, or goes on with it. */
  | {readonly type: 'answers'; readonly hello: Hello; readonly control: ControlConnection}
  /** Nobody listens at the path. */
  | {readonly type: 'unreachable'}
  /** Another launch answers there. */
  | {readonly type: 'other'; readonly hello: Hello}
  /** No answer in time: it hangs, is just coming up, or the machine is busy. */
  | {readonly type: 'silent'};

/** Never rejects. `uid` is the launch that is meant. */
export async function askHello(path: string, uid: string, timeoutMs: number): Promise<HelloAnswer> {
  let control: ControlConnection | undefined;
  try {
    control = new ControlConnection(await open(path, timeoutMs));
    const reply = await control.request({type: 'hello'}, {timeoutMs});
    const hello = reply.ok ? reply.hello : undefined;
    if (hello?.uid === uid) return {type: 'answers', hello, control};
    control.close();
    return hello ? {type: 'other', hello} : {type: 'silent'};
  } catch (error) {
    control?.close();
    const nobody = ['ENOENT', 'ECONNREFUSED', 'ENOTDIR', 'ENOTSOCK'].includes(errorCode(error) ?? '');
    return {type: nobody ? 'unreachable' : 'silent'};
  }
}

function open(path: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({path});
    const timer = setTimeout(() => socket.destroy(new Error('no answer')), timeoutMs);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeListener('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
    socket.once('close', () => clearTimeout(timer));
  });
}
