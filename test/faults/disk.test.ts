import {existsSync, mkdirSync, mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import type {Code} from './code.js';
import {loadFaulty, loadHealthy} from './code.js';
import {explore} from './explore.js';
import {scenarios} from './scenarios.js';

let healthy: Code;
let faulty: Code;
let root = '';
const covered = {crashes: 0, errors: 0};
/** Each step with every error that it can meet; else with one of them, which is another one at each step. */
const everyError = process.env['TEKTON_AI_FAULTS'] === 'all';

beforeAll(async () => {
  root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tekton-faults-'));
  healthy = await loadHealthy();
  faulty = await loadFaulty();
});

afterAll(() => {
  rmSync(root, {recursive: true, force: true});
});

describe('old or new, clear errors, nothing left behind, whatever the disk does:', () => {
  test.each(scenarios.map((scenario, index) => [scenario.name, scenario, index] as const))(
    '%s',
    async (_name, scenario, index) => {
      const folder = join(root, String(index));
      mkdirSync(folder);
      const {crashes, errors, violations} = await explore(scenario, {healthy, faulty, folder, everyError});
      covered.crashes += crashes;
      covered.errors += errors;
      expect(violations).toEqual([]);
    },
    120_000,
  );
});

const errorsAtLeast = everyError ? 1_800 : 500;

test(`covers at least 950 crashes and ${errorsAtLeast} errors in all`, () => {
  console.log(`${covered.crashes} crashes and ${covered.errors} errors`);
  expect(covered.crashes).toBeGreaterThanOrEqual(950);
  expect(covered.errors).toBeGreaterThanOrEqual(errorsAtLeast);
});
