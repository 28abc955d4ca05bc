/**
 * `npm test`: installs, builds, then tests, and beside that lints, checks the format and the types. The checks take what
 * the tests leave of the processors, for tests often wait.
 */
import {spawn} from 'node:child_process';
import {constants, setPriority} from 'node:os';
import {build, checkMachine, fail, install} from './steps.mjs';

checkMachine();
install();
build({always: true});
const [checked, tested] = await Promise.all([check(), test(process.argv.slice(2))]);
const failed = [...checked, ...tested];
if (failed.length > 0) fail(`${failed.join(', ')} failed`);

/** One after the other. @returns the titles of those that failed */
async function check() {
  const {PRIORITY_BELOW_NORMAL} = constants.priority;
  const options = {output: 'when failed', priority: PRIORITY_BELOW_NORMAL};
  return [
    ...(await node('checking the format', ['prettier/bin/prettier.cjs', '--check', '--log-level=warn', '.'], options)),
    ...(await node('type-checking', ['typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.json'], options)),
    ...(await node('linting', ['eslint/bin/eslint.js', '.'], options)),
  ];
}

function test(args) {
  const flags = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'];
  return node('testing', ['jest/bin/jest.js', ...args], {flags, output: 'as it comes'});
}

/** Runs a program of a package; what it says comes in one piece when it failed, or as it comes. */
function node(title, [program, ...args], {flags = [], output, priority}) {
  process.stderr.write(`> ${title}\n`);
  const stdio = output === 'as it comes' ? 'inherit' : ['ignore', 'pipe', 'pipe'];
  const child = spawn(process.execPath, [...flags, `node_modules/${program}`, ...args], {stdio});
  if (priority !== undefined && child.pid !== undefined) setPriority(child.pid, priority);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', chunk => (said += chunk));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) return resolve([]);
      process.stderr.write(`${said}> ${title} failed${signal === null ? '' : ` (${signal})`}\n`);
      resolve([title]);
    });
  });
}
