/** The contract of runtimes, kept by real processes. */
import {rmSync} from 'node:fs';
import {afterAll, beforeAll} from '@jest/globals';
import {runtimeContract} from '../../contract/runtime.js';
import {buildProgram, ProcessWorld} from './world.js';

let programFolder = '';

beforeAll(async () => {
  programFolder = await buildProgram();
});
afterAll(() => rmSync(programFolder, {recursive: true}));

runtimeContract('ProcessRuntime', () => ProcessWorld.open({programFolder}));
