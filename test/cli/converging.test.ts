/** The verbs that bring about what is declared, with the real loop; nothing here can be launched, so nothing is. */
import {afterEach, beforeEach, describe, expect, it} from '@jest/globals';
import {createServer, type Server} from 'node:net';
import {cli, exitCodes} from './host.js';
import {sampleDesired, sampleSpec} from './samples.js';
import {makeState, writeFleet, type State} from './state.js';

let state: State;
let stranger: Server;
let port: number;

beforeEach(async () => {
  state = await makeState();
  stranger = createServer();
  await new Promise<void>(resolve => stranger.listen(0, '127.0.0.1', resolve));
  const address = stranger.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP server has a port');
  ({port} = address);
});

afterEach(async () => {
  await new Promise(resolve => stranger.close(resolve));
  state.remove();
});

describe('delete', () => {
  it('waits for nobody but the one that goes', async () => {
    const own = {namespace: 'd', fleet: 'dev'};
    const stuck = sampleDesired({name: 'athena', aiId: 'd.athena-ai', ...own, spec: {...sampleSpec, port}});
    const numa = sampleDesired({name: 'numa', aiId: 'd.numa-ai', ...own});
    await writeFleet(state.home, [stuck, numa], {namespace: 'd'});
    expect(await cli(['delete', 'd/numa'], {home: state.home})).toEqual({
      code: exitCodes.ok,
      out: 'specialist/d/numa deleted\n',
      err: '',
    });
  });
});

describe('apply', () => {
  it('names those that need somebody as every verb takes them', async () => {
    const stdin = `
apiVersion: tekton.ai/v1alpha1
kind: Fleet
metadata: {name: dev, namespace: d}
spec:
  ports: {from: 1024, to: 65535}
  specialists:
    - {component: athena, port: ${port}, provider: offline}
`;
    const {code, err} = await cli(['apply', '-f', '-', '--wait'], {home: state.home, cwd: state.home, stdin});
    expect(err).toContain('not Ready, and a person or a provider is needed:\n  d/athena: PortTaken: ');
    expect(code).toBe(exitCodes.notReady);
  });
});
