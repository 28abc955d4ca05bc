/** `npm test`: installs, builds, lints, type-checks, tests. */
import {build, checkMachine, install, run} from './steps.mjs';

checkMachine();
install();
build({always: true});
run('linting', process.execPath, ['node_modules/eslint/bin/eslint.js', '.']);
run('checking the format', process.execPath, [
  'node_modules/prettier/bin/prettier.cjs',
  '--check',
  '--log-level=warn',
  '.',
]);
run('type-checking', process.execPath, ['node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.json']);
const jest = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js'];
run('testing', process.execPath, [...jest, ...process.argv.slice(2)]);
