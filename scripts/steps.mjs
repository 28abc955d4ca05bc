/** Steps that `npm start` and `npm test` share. Plain Node: they run before anything is installed. */
import {spawnSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {existsSync, readdirSync, readFileSync, statSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);

const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';

/** Refuses what cannot work before anything is touched. */
export function checkMachine() {
  if (process.platform === 'win32') fail('tekton-ai does not support Windows yet; use WSL');
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    fail(`tekton-ai needs Node 20.19 or newer; this is ${process.versions.node}`);
}

/** Installs exactly what package-lock.json says; does nothing when that was done already. */
export function install() {
  const stamp = 'node_modules/.tekton-installed';
  const wanted = createHash('sha256').update(readFileSync('package-lock.json')).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  run('installing packages', npm, ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  writeFileSync(stamp, wanted);
}

/** Builds `dist/` unless it is newer than every source. */
export function build({always = false} = {}) {
  if (!always && existsSync(built) && !changedSince(['src', 'scripts/build.mjs', 'package-lock.json'])) return;
  run('building', process.execPath, ['scripts/build.mjs']);
}

/** Runs one step; ends the program with its exit code when it fails. */
export function run(title, file, args, {env = {}} = {}) {
  process.stderr.write(`> ${title}\n`);
  const {status, signal} = spawnSync(file, args, {stdio: 'inherit', env: {...process.env, ...env}});
  if (signal) process.kill(process.pid, signal);
  if (status !== 0) fail(`${title} failed`, status ?? 1);
}

export function fail(message, code = 1) {
  process.stderr.write(`error: ${message}\n`);
  process.exit(code);
}

/** The last file that a build writes. */
const built = 'dist/worker/hash';

function changedSince(paths) {
  const builtAt = statSync(built).mtimeMs;
  const newer = path => {
    const stat = statSync(path);
    return stat.isDirectory() ? readdirSync(path).some(name => newer(join(path, name))) : stat.mtimeMs > builtAt;
  };
  return paths.some(newer);
}
