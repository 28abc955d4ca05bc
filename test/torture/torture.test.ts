/** A bounded round of `npm run torture`, on the build of this checkout, with a seed of its own each time. */
import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {describe, expect, it, jest} from '@jest/globals';

/** Real processes on a machine that may be busy: one more try, and the first failure is printed all the same. */
jest.retryTimes(1, {logErrorsBeforeRetry: true});

interface Ran {
  readonly code: number;
  readonly output: string;
}

/** Linux: it looks at processes and locks through /proc. */
const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('under torture', () => {
  it.each([
    ['a registry loses, tears and shares nothing, though writers are killed and frozen', 'registry'],
    ['a registry has everything again once a writer that takes no lock is gone', 'predecessor'],
    ['a damaged registry heals, and what was readable in it survives', 'corruption'],
    ['a fleet converges to what is declared, whatever was done to it, and no stranger is touched', 'fleet'],
    ['a fleet of many leaves nothing behind after a storm of kills', 'storm'],
    ['clients get every answer while their specialists are restarted and controllers replaced', 'clients'],
  ])(
    '%s',
    async (_sentence, scenario) => {
      const {code, output} = await torture(['--small', '--scenario', scenario]);
      // The output names the seed and tells the story of what went wrong.
      expect(code === 0 ? '' : output).toBe('');
    },
    120_000,
  );
});

function torture(args: readonly string[]): Promise<Ran> {
  const script = fileURLToPath(new URL('run.mjs', import.meta.url));
  return new Promise(resolve => {
    execFile(process.execPath, [script, ...args], {timeout: 110_000}, (error, stdout, stderr) => {
      resolve({code: error === null ? 0 : 1, output: stdout + stderr});
    });
  });
}
