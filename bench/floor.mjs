/** The floors: what no implementation on Node can beat. */
import {spawn, spawnSync} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const server = `require('net').createServer(() => {}).listen(0, '127.0.0.1', () => require('fs').writeSync(3, '1'));`;

/**
 * Our environment without NODE_EXTRA_CA_CERTS: reading it costs every start of Node 20 some 36 ms, and workers of providers
 * without https are started without it. A floor with it would flatter us.
 */
export const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => name !== 'NODE_EXTRA_CA_CERTS'),
);

/** ms until `count` bare Node servers, started at once with plain spawn, all listen. */
export async function bareServers(count) {
  const folder = mkdtempSync(join(tmpdir(), 'tekton-bench-'));
  const file = join(folder, 'server.cjs');
  writeFileSync(file, server);
  const children = [];
  const start = performance.now();
  await Promise.all(
    Array.from({length: count}, () => {
      const child = spawn(process.execPath, [file], {
        stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
        detached: true,
        env: {PATH: process.env.PATH},
      });
      children.push(child);
      return new Promise(resolve => child.stdio[3].once('data', resolve));
    }),
  );
  const ms = performance.now() - start;
  const gone = children.map(child => new Promise(resolve => child.once('exit', resolve)));
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(gone);
  rmSync(folder, {recursive: true});
  return ms;
}

/** ms of a Node process that does nothing; the median of five. */
export function nodeStart() {
  const times = Array.from({length: 5}, () => {
    const start = performance.now();
    spawnSync(process.execPath, ['-e', '0'], {env: environment});
    return performance.now() - start;
  });
  return times.sort((a, b) => a - b)[2];
}
