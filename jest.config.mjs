import {availableParallelism} from 'node:os';

/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  extensionsToTreatAsEsm: ['.ts'],
  // Sources import './x.js' as Node's ESM wants; under jest these are './x.ts'.
  moduleNameMapper: {'^(\\.{1,2}/.*)\\.js$': '$1'},
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {jsc: {target: 'es2022', parser: {syntax: 'typescript'}}, module: {type: 'es6'}, sourceMaps: 'inline'},
    ],
  },
  testTimeout: 30_000,
  // The long tests wait for processes and timers more than for a processor: on two cores one worker would take twice as long.
  maxWorkers: Math.max(2, availableParallelism() - 1),
};
